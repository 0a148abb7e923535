"""Training recipe: it learns, is reproducible, and records its accuracy."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from examples.digits import train as recipe_module
from examples.digits.data import Split, load_split
from examples.digits.train import Recipe, parameter_groups, train_variant
from models import build_network
from models.sources.posbake import read_config
from tests.conftest import DIGITS, VARIANTS

pytestmark = pytest.mark.slow

SHORT = Recipe(epochs=2)
SLOW = {"irpe-product-contextual-qkv", "irpe-cross-contextual-k", "swin-log-cpb"}
"""Variants with two or three lookups per layer, or a second norm, which train for over two minutes on two cores."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder to which checkpoints are written, in place of the shipped ones."""
    monkeypatch.setattr(recipe_module, "CHECKPOINTS", tmp_path)
    return tmp_path


def weights(file: Path) -> dict[str, Tensor]:
    with safe_open(file, framework="pt") as checkpoint:
        return {key: checkpoint.get_tensor(key) for key in checkpoint.keys()}  # noqa: SIM118 -- not a dict


def test_two_epochs_exceed_chance(folder: Path) -> None:
    train_variant("learned", SHORT)
    with safe_open(folder / "learned.safetensors", framework="pt") as checkpoint:
        accuracy = json.loads(checkpoint.metadata()["accuracy"])
    assert accuracy["count"] == 360
    assert accuracy["top1"] > 0.2  # ten classes: chance is 0.1


def test_training_is_reproducible(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [Split(split.images[:128], split.labels[:128]) for split in load_split()]
    monkeypatch.setattr(recipe_module, "load_split", lambda _: few)
    file = folder / "learned.safetensors"
    train_variant("learned", SHORT)
    first = weights(file)
    train_variant("learned", replace(SHORT, seed=1))
    assert not all(torch.equal(tensor, first[key]) for key, tensor in weights(file).items())
    train_variant("learned", SHORT)
    assert all(torch.equal(tensor, first[key]) for key, tensor in weights(file).items())


def test_position_tables_have_no_weight_decay() -> None:
    config, _ = read_config(str(DIGITS / "configs" / "irpe-product-contextual-k.json"))
    network = build_network(config.network)
    decayed, kept = (group["params"] for group in parameter_groups(network, 0.05))
    tables = {id(parameter) for name, parameter in network.named_parameters() if "encoding" in name}
    assert tables
    assert isinstance(decayed, list)
    assert isinstance(kept, list)
    assert tables <= {id(parameter) for parameter in kept}
    assert len(decayed) + len(kept) == len(list(network.parameters()))
    assert id(network.get_parameter("head.weight")) in {id(parameter) for parameter in decayed}


def test_every_shipped_checkpoint_is_small_and_states_its_training() -> None:
    for variant in VARIANTS:
        file = DIGITS / "checkpoints" / f"{variant}.safetensors"
        assert file.stat().st_size <= 600_000
        with safe_open(file, framework="pt") as checkpoint:
            training = json.loads(checkpoint.metadata()["training"])
        assert training["recipe"] == asdict(Recipe())
        assert training["seconds"] < (240 if variant in SLOW else 120)
