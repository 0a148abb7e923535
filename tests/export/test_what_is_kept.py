"""Memory of an export: a step releases what the next ones do not need, so that a large network fits."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from export.pipeline import ExportRequest, export_onnx
from models.sources import RandomWeights

pytestmark = pytest.mark.slow

WIDTH = 44
"""Width of the network; no other network in the tests has a packed QKV of three times this width."""

NETWORK = f"""
import timm

def network():
    small = {{"img_size": 32, "window_size": 4, "embed_dim": {WIDTH}, "depths": (1, 1), "num_heads": (2, 4)}}
    return timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **small)
"""


def weights_alive() -> int:
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some other live objects warn when inspected
        tensors = [item for item in gc.get_objects() if type(item) in (torch.Tensor, torch.nn.Parameter)]
    return sum(3 * WIDTH in tensor.shape for tensor in tensors)


def test_the_networks_weights_are_released_before_the_graph_is_verified(tmp_path: Path) -> None:
    alive: dict[str, int] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        if name in ("reference", "verify", "write"):
            alive[name] = weights_alive()
        yield

    file = tmp_path / "network.py"
    file.write_text(NETWORK)
    export_onnx(ExportRequest(f"python:{file}:network", RandomWeights(0), tmp_path / "repository"), step)
    assert alive["reference"] > 0
    assert alive["verify"] == 0
    assert alive["write"] == 0
