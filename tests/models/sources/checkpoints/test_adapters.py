"""An adapter is merged into its network, or refused with the remedy; its network alone is never exported for it."""

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


class Places:
    """A network, adapters of it, and where they lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = ViTForImageClassification(ViTConfig(**SIZES))
        scramble(self.base, seed=1)
        self.base.save_pretrained(folder / "base")
        ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "base")
        self.source = f"transformers:{folder / 'base'}"
        self.tuned = self.adapter("adapter", modules_to_save=["classifier"])
        shutil.copytree(folder / "base", folder / "beside")
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(folder / "adapter" / file, folder / "beside")

    def adapter(self, name: str, classes: int = 5, **options: Any) -> nn.Module:  # noqa: ANN401 -- peft's
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
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("adapters"))


def test_an_adapter_is_merged_wherever_it_lies(places: Places) -> None:
    folder = places.folder
    torch.save(places.tuned.state_dict(), folder / "adapter" / "whole.pt")
    ways: list[tuple[str, Weights]] = [
        (places.source, Checkpoint(folder / "adapter")),
        (places.source, Checkpoint(folder / "adapter" / "adapter_model.safetensors")),
        (places.source, Checkpoint(folder / "adapter" / "whole.pt")),
        (places.source, Checkpoint(folder / "beside")),
        (f"transformers:{folder / 'beside'}", Pretrained()),
        (f"transformers:{folder / 'adapter'}", Pretrained()),
    ]
    (folder / "adapter" / "preprocessor_config.json").unlink(missing_ok=True)
    for source, weights in ways:
        loaded = load_source(source, weights, Overrides())
        assert is_same(loaded, places.tuned), weights
        assert not is_same(loaded, places.base)
        assert loaded.notes[-1].startswith("merged the LORA adapter")


def test_an_adapter_with_classes_of_its_own_brings_their_number(places: Places) -> None:
    tuned = places.adapter("three", classes=3, modules_to_save=["classifier"])
    loaded = load(places.source, places.folder / "three")
    assert loaded.num_classes == 3
    assert is_same(loaded, tuned)


def test_an_adapter_of_transformers_4_is_merged_under_todays_names(places: Places) -> None:
    tuned, folder = places.adapter("old"), places.folder / "old"
    state = load_file(folder / "adapter_model.safetensors")
    save_file({rename(key): tensor for key, tensor in state.items()}, folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["query"]}))
    assert is_same(load(places.source, folder), tuned)


def rename(key: str) -> str:
    for today, before in OLD:
        key = key.replace(today, before)
    return key


def test_another_method_than_lora_is_merged_too(places: Places) -> None:
    tuned = places.adapter("dora", use_dora=True)
    assert is_same(load(places.source, places.folder / "dora"), tuned)


def test_an_adapter_that_does_not_fit_is_refused(places: Places, tmp_path: Path) -> None:
    shutil.copytree(places.folder / "adapter", tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    state = load_file(file)
    save_file(state | {"base_model.model.vit.foo.lora_A.weight": torch.ones(2, 2)}, file)
    with pytest.raises(SourceError, match=r"not merged into its network: .*foo\.lora_A.*merge_and_unload"):
        load(places.source, tmp_path / "adapter")
    save_file({key: tensor for key, tensor in state.items() if "layers.1" not in key}, file)
    with pytest.raises(SourceError, match=r"layers\.1\.attention\.q_proj\.lora_A\S* .*not in both"):
        load(places.source, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"r": 4}')
    with pytest.raises(SourceError, match="not the configuration of an adapter"):
        load(places.source, tmp_path / "adapter")


def test_an_adapter_that_nothing_says_the_scale_of_is_refused(places: Places, tmp_path: Path) -> None:
    shutil.copy(places.folder / "adapter" / "adapter_model.safetensors", tmp_path / "alone.safetensors")
    torch.save(places.tuned.state_dict(), tmp_path / "whole.pt")
    for source in (places.source, VIT):
        for file in ("alone.safetensors", "whole.pt"):
            with pytest.raises(SourceError, match=r"peft's, and there is no adapter_config\.json .*beside it"):
                load(source, tmp_path / file)
    with pytest.raises(SourceError, match=r"holds an adapter that is not merged.*merge_and_unload"):
        load(VIT, places.folder / "adapter")


def test_without_peft_an_adapter_is_refused_and_its_network_alone_is_not_exported(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)  # what importing it then finds where it is not installed
    beside = places.folder / "beside"
    ways: list[tuple[str, Weights]] = [
        (places.source, Checkpoint(places.folder / "adapter")),
        (places.source, Checkpoint(beside)),
        (f"transformers:{beside}", Pretrained()),
    ]
    for source, weights in ways:
        with pytest.raises(SourceError, match=r"LORA, and peft is not installed.*pip install peft.*merge_and_unload"):
            load_source(source, weights, Overrides())
