"""The recipe learns, repeats itself, and writes down what it reached."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from examples.digits import train as recipe_module
from examples.digits.train import BEGIN, END, READMES, Recipe, parameter_groups, train_variant, write_table
from models import build_network
from models.sources.posbake import read_config
from tests.conftest import DIGITS, VARIANTS

SHORT = Recipe(epochs=2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where checkpoints and table go instead of the shipped ones."""
    monkeypatch.setattr(recipe_module, "CHECKPOINTS", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    monkeypatch.setattr(recipe_module, "READMES", (readme,))
    return tmp_path


def weights(file: Path) -> dict[str, Tensor]:
    with safe_open(file, framework="pt") as checkpoint:
        return {key: checkpoint.get_tensor(key) for key in checkpoint.keys()}  # noqa: SIM118 -- not a dict


def test_two_epochs_learn_something_and_give_the_same_again(folder: Path) -> None:
    train_variant("learned", SHORT)
    file = folder / "learned.safetensors"
    first = weights(file)
    with safe_open(file, framework="pt") as checkpoint:
        accuracy = json.loads(checkpoint.metadata()["accuracy"])
    assert accuracy["count"] == 360
    assert accuracy["top1"] > 0.2  # ten classes: chance is 0.1
    train_variant("learned", SHORT)
    assert all(torch.equal(tensor, first[key]) for key, tensor in weights(file).items())


def test_the_table_has_a_row_for_each_checkpoint_and_leaves_the_rest_alone(folder: Path) -> None:
    train_variant("none", Recipe(epochs=1))
    write_table(VARIANTS)
    text = (folder / "README.md").read_text()
    assert text.startswith(f"before\n{BEGIN}\n| variant |")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert text.count("\n| `") == 1


def test_position_tables_are_not_decayed() -> None:
    config, _ = read_config(str(DIGITS / "configs" / "irpe-product-contextual-k.json"))
    network = build_network(config.network)
    decayed, kept = (group["params"] for group in parameter_groups(network, 0.05))
    tables = {id(parameter) for name, parameter in network.named_parameters() if "table" in name}
    assert isinstance(decayed, list)
    assert isinstance(kept, list)
    assert tables <= {id(parameter) for parameter in kept}
    assert len(decayed) + len(kept) == len(list(network.parameters()))
    assert id(network.get_parameter("head.weight")) in {id(parameter) for parameter in decayed}


def test_the_shipped_table_is_what_the_shipped_checkpoints_say() -> None:
    tables = [readme.read_text().split(BEGIN)[1].split(END)[0] for readme in READMES]
    assert tables[0] == tables[1]
    for variant in VARIANTS:
        file = DIGITS / "checkpoints" / f"{variant}.safetensors"
        assert file.stat().st_size <= 600_000
        with safe_open(file, framework="pt") as checkpoint:
            metadata = checkpoint.metadata()
        accuracy, training = json.loads(metadata["accuracy"]), json.loads(metadata["training"])
        row = next(line for line in tables[0].splitlines() if line.startswith(f"| `{variant}` |"))
        assert f"| {accuracy['top1']:.2%} | {training['parameters']:,} |" in row
        assert training["seconds"] < 120
