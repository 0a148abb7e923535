"""Keys of training scripts' checkpoints: prefixes are dropped, extra tensors named, larger networks refused."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.sources import SourceError
from tests.models.sources.checkpoints.small import VIT, VIT_ARGS, is_same, load, network, saved

pytestmark = pytest.mark.slow

ONE = torch.ones(1)


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    return network(VIT, **VIT_ARGS)


def prefixed(model: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "net.", "backbone.", "model.encoder.0."]
)
def test_a_common_prefix_is_dropped_with_a_note(prefix: str, vit: nn.Module, tmp_path: Path) -> None:
    loaded = load(VIT, saved(prefixed(vit, prefix), tmp_path / "x"), model_args=VIT_ARGS)
    assert loaded.notes == (f"dropped the prefix {prefix} of every key",)
    assert is_same(loaded, vit)


def test_a_lightning_checkpoint_is_loaded_and_its_criterion_named(vit: nn.Module, tmp_path: Path) -> None:
    content = {
        "state_dict": prefixed(vit, "model.") | {"criterion.weight": torch.ones(7)},
        "hyper_parameters": {"lr": 0.1},
        "callbacks": {"ModelCheckpoint": {"best": ONE}},
        "optimizer_states": [{"state": {0: {"exp_avg": ONE}}}],
        "pytorch-lightning_version": "2.1.0",
    }
    loaded = load(VIT, saved(content, tmp_path / "last.ckpt"), model_args=VIT_ARGS)
    assert is_same(loaded, vit)
    assert loaded.notes == (
        "dropped the prefix model. of every key",
        "ignored criterion.weight: not weights of the network",
    )


def test_tensors_of_profilers_and_averaging_are_ignored_with_a_note(vit: nn.Module, tmp_path: Path) -> None:
    left = {"total_ops": ONE, "blocks.0.total_params": ONE, "loss_fn.pos_weight": ONE, "n_averaged": torch.tensor(3)}
    loaded = load(VIT, saved(vit.state_dict() | left, tmp_path / "x"), model_args=VIT_ARGS)
    assert loaded.notes == (
        "ignored total_ops, blocks.0.total_params, loss_fn.pos_weight and 1 more: not weights of the network",
    )
    with pytest.raises(
        SourceError, match="unexpected: total_ops"
    ):  # a single number may be a counter, a matrix may not
        load(VIT, saved(vit.state_dict() | {"total_ops": torch.ones(3, 3)}, tmp_path / "x"), model_args=VIT_ARGS)


def test_averaged_weights_under_their_own_prefix_are_preferred(vit: nn.Module, tmp_path: Path) -> None:
    other = network(VIT, **VIT_ARGS)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    file = saved(prefixed(other, "model.") | prefixed(vit, "ema_model."), tmp_path / "x")
    loaded = load(VIT, file, model_args=VIT_ARGS)
    assert is_same(loaded, vit)
    assert loaded.notes == ("took ema_model, averaged over training steps, not model (--weights-key chooses)",)
    assert is_same(load(VIT, file, "model", model_args=VIT_ARGS), other)


def test_two_sets_of_weights_of_equal_rank_need_a_key(vit: nn.Module, tmp_path: Path) -> None:
    file = saved(prefixed(vit, "student.") | prefixed(vit, "teacher."), tmp_path / "x")
    with pytest.raises(SourceError, match="2 sets of weights: student, teacher; choose one with --weights-key NAME"):
        load(VIT, file, model_args=VIT_ARGS)


def test_layers_around_the_named_network_are_not_dropped(vit: nn.Module, tmp_path: Path) -> None:
    file = saved(prefixed(vit, "backbone.") | {"neck.weight": torch.ones(3, 3)}, tmp_path / "x")
    with pytest.raises(
        SourceError, match=r"others beside them: neck\.weight.*export the whole network with.*--weights-key backbone"
    ):
        load(VIT, file, model_args=VIT_ARGS)
    assert is_same(load(VIT, file, "backbone", model_args=VIT_ARGS), vit)


def test_the_error_for_a_missing_key_names_the_prefix(vit: nn.Module, tmp_path: Path) -> None:
    state = prefixed(vit, "module.")
    del state["module.blocks.0.norm1.bias"]
    with pytest.raises(
        SourceError, match=r"under the prefix module\.; missing: blocks\.0\.norm1\.bias\. It is incomplete"
    ):
        load(VIT, saved(state, tmp_path / "x"), model_args=VIT_ARGS)


def test_a_head_with_other_classes_is_not_part_of_the_error(vit: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        load(VIT, saved(vit.state_dict() | {"foo.weight": ONE}, tmp_path / "x"), model_args=VIT_ARGS)
    assert "unexpected: foo.weight. " in str(caught.value)
    assert "head." not in str(caught.value)


@pytest.mark.parametrize("source", ["torchvision:resnet18", "timm:resnet10t"])
def test_library_modules_accept_the_same_files(source: str, tmp_path: Path) -> None:
    import timm
    import torchvision

    library, _, name = source.partition(":")
    theirs = timm.create_model(name) if library == "timm" else torchvision.models.get_model(name)
    content = {"state_dict": prefixed(theirs.eval(), "model.") | {"criterion.weight": ONE}}
    loaded = load(source, saved(content, tmp_path / "last.ckpt"), image_size=(64, 64))
    assert loaded.notes[0] == "dropped the prefix model. of every key"
    assert is_same(loaded, theirs)
