"""Adapters are merged into their network or refused with the remedy; the base network alone is never exported."""

import copy
import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from models.sources import Checkpoint, Overrides, Pretrained, SourceError, load_source
from models.sources.base import Weights
from tests.models.sources.checkpoints.small import VIT, is_same, load
from tests.models.sources.libraries import scramble

pytestmark = pytest.mark.slow

SIZES: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "num_labels": 5,
}
OLD = (("vit.layers.", "vit.encoder.layer."), ("attention.q_proj", "attention.attention.query"))


class Adapters:
    """A base network and its adapters, saved in subfolders of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = ViTForImageClassification(ViTConfig(**SIZES))
        scramble(self.base, seed=1)
        self.base.save_pretrained(folder / "base")
        ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "base")
        self.source = f"transformers:{folder / 'base'}"
        self.tuned = self.save_adapter("adapter", modules_to_save=["classifier"])
        shutil.copytree(folder / "base", folder / "beside")
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(folder / "adapter" / file, folder / "beside")

    def save_adapter(self, name: str, classes: int = 5, **options: Any) -> nn.Module:  # noqa: ANN401 -- peft's
        """Save an adapter and return the network with it, not merged."""
        network = copy.deepcopy(self.base)
        if classes != network.config.num_labels:
            network.classifier = nn.Linear(48, classes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft uses a deprecated name of transformers
            tuned = peft.get_peft_model(network, peft.LoraConfig(r=4, target_modules=["q_proj"], **options))
        with torch.no_grad():
            for key, parameter in tuned.named_parameters():
                if "lora" in key or "modules_to_save" in key:
                    parameter.normal_(std=0.5)
        tuned.peft_config["default"].base_model_name_or_path = str(self.folder / "base")
        tuned.save_pretrained(str(self.folder / name))
        tuned.eval()
        assert isinstance(tuned, nn.Module)
        return tuned


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Adapters:
    return Adapters(tmp_path_factory.mktemp("adapters"))


def test_an_adapter_is_merged_from_any_location(adapters: Adapters) -> None:
    folder = adapters.folder
    torch.save(adapters.tuned.state_dict(), folder / "adapter" / "whole.pt")
    ways: list[tuple[str, Weights]] = [
        (adapters.source, Checkpoint(folder / "adapter")),
        (adapters.source, Checkpoint(folder / "adapter" / "adapter_model.safetensors")),
        (adapters.source, Checkpoint(folder / "adapter" / "whole.pt")),
        (adapters.source, Checkpoint(folder / "beside")),
        (f"transformers:{folder / 'beside'}", Pretrained()),
        (f"transformers:{folder / 'adapter'}", Pretrained()),
    ]
    (folder / "adapter" / "preprocessor_config.json").unlink(missing_ok=True)
    for source, weights in ways:
        loaded = load_source(source, weights, Overrides())
        assert is_same(loaded, adapters.tuned), weights
        assert not is_same(loaded, adapters.base)
        assert loaded.notes[-1].startswith("merged the LORA adapter")


def test_an_adapter_with_its_own_classes_sets_their_number(adapters: Adapters) -> None:
    tuned = adapters.save_adapter("three", classes=3, modules_to_save=["classifier"])
    loaded = load(adapters.source, adapters.folder / "three")
    assert loaded.num_classes == 3
    assert is_same(loaded, tuned)


def test_an_adapter_of_transformers_4_is_merged_with_renamed_keys(adapters: Adapters) -> None:
    tuned, folder = adapters.save_adapter("old"), adapters.folder / "old"
    state = load_file(folder / "adapter_model.safetensors")
    save_file({rename(key): tensor for key, tensor in state.items()}, folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["query"]}))
    assert is_same(load(adapters.source, folder), tuned)


def rename(key: str) -> str:
    for today, before in OLD:
        key = key.replace(today, before)
    return key


def test_a_dora_adapter_is_merged_too(adapters: Adapters) -> None:
    tuned = adapters.save_adapter("dora", use_dora=True)
    assert is_same(load(adapters.source, adapters.folder / "dora"), tuned)


def test_an_adapter_that_does_not_fit_is_refused(adapters: Adapters, tmp_path: Path) -> None:
    shutil.copytree(adapters.folder / "adapter", tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    state = load_file(file)
    save_file(state | {"base_model.model.vit.foo.lora_A.weight": torch.ones(2, 2)}, file)
    with pytest.raises(SourceError, match=r"not merged into its network: .*foo\.lora_A.*merge_and_unload"):
        load(adapters.source, tmp_path / "adapter")
    save_file({key: tensor for key, tensor in state.items() if "layers.1" not in key}, file)
    with pytest.raises(SourceError, match=r"layers\.1\.attention\.q_proj\.lora_A\S* .*not in both"):
        load(adapters.source, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"r": 4}')
    with pytest.raises(SourceError, match="not the configuration of an adapter"):
        load(adapters.source, tmp_path / "adapter")


def test_an_adapter_without_its_configuration_is_refused(adapters: Adapters, tmp_path: Path) -> None:
    shutil.copy(adapters.folder / "adapter" / "adapter_model.safetensors", tmp_path / "alone.safetensors")
    torch.save(adapters.tuned.state_dict(), tmp_path / "whole.pt")
    for source in (adapters.source, VIT):
        for file in ("alone.safetensors", "whole.pt"):
            with pytest.raises(SourceError, match=r"peft's, and there is no adapter_config\.json .*beside it"):
                load(source, tmp_path / file)
    with pytest.raises(SourceError, match=r"holds an adapter that is not merged.*merge_and_unload"):
        load(VIT, adapters.folder / "adapter")


def test_without_peft_an_adapter_is_refused_and_its_base_network_not_exported(
    adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)  # as if peft were not installed
    beside = adapters.folder / "beside"
    ways: list[tuple[str, Weights]] = [
        (adapters.source, Checkpoint(adapters.folder / "adapter")),
        (adapters.source, Checkpoint(beside)),
        (f"transformers:{beside}", Pretrained()),
    ]
    for source, weights in ways:
        with pytest.raises(SourceError, match=r"LORA, and peft is not installed.*pip install peft.*merge_and_unload"):
            load_source(source, weights, Overrides())
