"""Vision transformers of other libraries, from a name on the command line to logits."""

import copy
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import BeitConfig, BeitForImageClassification, ViTImageProcessor

from export.to_onnx import main
from models.sources import Checkpoint, Overrides, RandomWeights, SourceError, load_source
from tests.models.sources.libraries import TOLERANCE, randomise_library, relative_error

pytestmark = pytest.mark.slow


def checkpoint_of(model: nn.Module, folder: Path, *without: str) -> Checkpoint:
    state = {key: tensor for key, tensor in model.state_dict().items() if key not in without}
    save_file(state, folder / "weights.safetensors")
    return Checkpoint(folder / "weights.safetensors")


@pytest.fixture(scope="module")
def distilled() -> nn.Module:
    model: nn.Module = timm.create_model("deit_tiny_distilled_patch16_224")
    randomise_library(model)
    return model


def test_a_full_size_distilled_deit_gives_timms_logits(distilled: nn.Module, tmp_path: Path) -> None:
    loaded = load_source("timm:deit_tiny_distilled_patch16_224", checkpoint_of(distilled, tmp_path), Overrides())
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert relative_error(loaded.network(images), distilled(images)) < TOLERANCE
    assert (loaded.encoding, loaded.resampled) == ("learned", ())


def test_another_image_size_gives_timms_logits_at_that_size(distilled: nn.Module, tmp_path: Path) -> None:
    source, checkpoint = "timm:deit_tiny_distilled_patch16_224", checkpoint_of(distilled, tmp_path)
    loaded = load_source(source, checkpoint, Overrides(image_size=(128, 96), trained_image_size=(224, 224)))
    assert loaded.image_size == loaded.preprocess.size == (128, 96)
    assert loaded.resampled == ("position embedding from 14×14 to 8×6 tokens, bicubic with antialiasing",)
    theirs = copy.deepcopy(distilled)
    theirs.set_input_size(img_size=(128, 96))  # type: ignore[operator]
    images = torch.randn(2, 3, 128, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert relative_error(loaded.network(images), theirs(images)) < TOLERANCE


def test_a_truncated_checkpoint_names_the_librarys_keys(distilled: nn.Module, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(distilled, tmp_path, "dist_token", "blocks.3.attn.qkv.weight")
    with pytest.raises(SourceError, match=r"missing: dist_token, blocks\.3\.attn\.qkv\.weight"):
        load_source("timm:deit_tiny_distilled_patch16_224", checkpoint, Overrides())


def test_a_checkpoint_of_another_network_is_refused(distilled: nn.Module, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(distilled, tmp_path)
    with pytest.raises(SourceError, match="unexpected: dist_token, head_dist"):
        load_source("timm:deit_tiny_patch16_224", checkpoint, Overrides())


def test_a_network_without_a_head_is_given_one() -> None:
    loaded = load_source("timm:eva02_tiny_patch14_224", RandomWeights(0), Overrides(num_classes=3))
    assert (loaded.architecture, loaded.encoding, loaded.num_classes) == ("Eva", "learned+rope", 3)


def beit_folder(folder: Path) -> BeitForImageClassification:
    """Save a small transformers BEiT, with weights and preprocessing, and return it."""
    config = BeitConfig(
        image_size=32,
        patch_size=8,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        use_relative_position_bias=True,
        id2label={0: "cat", 1: "dog", 2: "newt"},
    )
    model = BeitForImageClassification(config)
    randomise_library(model)
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return model


def test_the_graph_of_a_transformers_folder_has_transformers_logits(tmp_path: Path) -> None:
    model = beit_folder(tmp_path / "beit")
    arguments = [f"transformers:{tmp_path / 'beit'}", "--pretrained", "--input", "float32"]
    assert main([*arguments, "--output", str(tmp_path / "out"), "--quiet"]) == 0
    [graph] = (tmp_path / "out").rglob("model.onnx")
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for batch in (1, 2, 3, 7):
        images = torch.randn(batch, 3, 32, 32)
        [logits] = session.run(["logits"], {"image": images.numpy()})
        with torch.no_grad():
            assert relative_error(torch.from_numpy(np.asarray(logits)), model(images).logits) < TOLERANCE


def test_a_torchvision_network_is_loaded_by_name() -> None:
    loaded = load_source("torchvision:vit_b_32", RandomWeights(1), Overrides())
    assert (loaded.encoding, loaded.image_size, loaded.num_classes) == ("learned", (224, 224), 1000)
