"""Engines of networks of full width in fp16, built by TensorRT-RTX for batches 1 to 8."""

from pathlib import Path
from typing import Any

import pytest
import torch
from onnx_ir.passes import common
from torch import nn

from artifact import Batch
from engines import summarise
from export.passes.graph import rewrite_graph
from export.precision.half import HALVES, ToHalf
from export.precision.part_transposes import PartTransposes
from export.tracing.graph import trace_graph
from export.tracing.pixels import ArtifactInput, Normalisation
from export.write.saving import save_graph
from models.sources import Overrides, RandomWeights, load_source
from tests.engines.rtx import build, rtx_or_skip

pytestmark = [pytest.mark.rtx, pytest.mark.slow]

SWIN: dict[str, Any] = {"depths": (2, 1), "num_heads": (3, 6)}
"""A stage with and without shifted windows, and the last stage, which has one window."""
NETWORKS: dict[str, tuple[dict[str, Any], int]] = {
    "timm:swin_tiny_patch4_window7_224": (SWIN | {"img_size": 56}, 3),
    "timm:swinv2_tiny_window8_256": (SWIN | {"img_size": 64}, 3),
    "timm:vit_small_patch16_224": ({"depth": 2}, 2),
    "timm:beit_base_patch16_224": ({"depth": 2}, 2),
    "cream:deit_small_patch16_224_ctx_product_50_shared_k": ({}, 2),
    "timm:maxvit_pico_rw_256": ({"depths": (1,), "embed_dim": (64,)}, 2),  # attention in windows and in a grid
}
"""Options of each network, with fewer blocks and stages if all are alike, and its number of fused attention kernels."""


@pytest.mark.parametrize("source", NETWORKS)
def test_a_network_is_built_and_its_attention_fused(source: str, tmp_path: Path) -> None:
    rtx_or_skip()
    arguments, fused = NETWORKS[source]
    loaded = load_source(source, RandomWeights(0), Overrides(model_args=arguments))
    if source.startswith("cream:"):  # a published network has no option for its number of blocks
        blocks = loaded.network.blocks
        assert isinstance(blocks, nn.Sequential)
        del blocks[2:]
    steps = loaded.preprocess
    whole = ArtifactInput(loaded.network, Normalisation(steps.mean, steps.std))
    example = torch.zeros(2, *loaded.image_size, 3, dtype=torch.uint8)
    model = rewrite_graph(trace_graph(whole, example, Batch(min=1, max=8), 20)).model
    ToHalf(HALVES["fp16"])(model)
    PartTransposes()(model)
    common.DeduplicateHashedInitializersPass(size_limit=2**40)(model)
    save_graph(model, tmp_path / "model.onnx")
    engine = build(tmp_path / "model.onnx")
    found = summarise(engine.layers)
    assert found.attention == fused
