"""Networks whose weights all come from a checkpoint are built without random numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from models.sources import Checkpoint, Overrides, load_source
from models.sources.undrawn import UndrawnParameters

SMALL = "vit_tiny_patch16_224"
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(3, 4),
    "convolution": lambda: nn.Conv2d(3, 4, 2),
    "embedding": lambda: nn.Embedding(3, 4),
    "timm": lambda: timm.create_model(SMALL, img_size=32, depth=1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_random_number_is_drawn(name: str) -> None:
    before = torch.get_rng_state()
    with torch.device("cpu"), UndrawnParameters():
        NETWORKS[name]()
    assert torch.equal(torch.get_rng_state(), before)
    NETWORKS[name]()
    assert not torch.equal(torch.get_rng_state(), before)


def test_other_tensors_are_drawn_and_constant_parameters_are_set() -> None:
    torch.manual_seed(0)
    expected = torch.empty(5).normal_()
    torch.manual_seed(0)
    with UndrawnParameters():
        assert torch.equal(torch.empty(5).normal_(), expected)
        assert nn.LayerNorm(3).weight.tolist() == [1, 1, 1]


def test_a_checkpoint_is_loaded_without_random_numbers(tmp_path: Path) -> None:
    network = timm.create_model(SMALL, img_size=32, depth=1).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    overrides = Overrides(trained_image_size=(32, 32), model_args={"depth": 1})
    before = torch.get_rng_state()
    loaded = load_source(f"timm:{SMALL}", Checkpoint(tmp_path / "weights.safetensors"), overrides)
    assert torch.equal(torch.get_rng_state(), before)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded.network(images), network(images))
