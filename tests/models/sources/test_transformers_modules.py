"""transformers' networks as library modules, their image processors, and checkpoint folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from models.sources import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, load_source
from models.sources.base import Weights
from models.sources.processors import preprocess_of
from tests.models.sources.libraries import logits_of, relative_error, scramble

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 96,
}
SWIN: dict[str, Any] = {"image_size": 64, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 3], "window_size": 4}
LEVIT: dict[str, Any] = {
    "image_size": 64,
    "hidden_sizes": [32, 48, 64],
    "num_attention_heads": [2, 3, 4],
    "depths": [1, 1, 1],
    "key_dim": [8, 8, 8],
}
CONVNEXT = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
PVT: dict[str, Any] = {
    "image_size": 64,
    "num_labels": 3,
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 3, 4],
}
RELATIVE = {"use_relative_position_bias": True}
SHARED = {"use_shared_relative_position_bias": True}
LABELS = {0: "cat", 1: "dog", 2: "newt"}

# name: (configuration, its options, processor, its options), and the name of its position encoding
NETWORKS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any], str]] = {
    "swin": ("Swin", SWIN, "ViT", {"size": 64}, "swin-table"),
    "swin, absolute": ("Swin", SWIN | {"use_absolute_embeddings": True}, "ViT", {"size": 64}, "learned+swin-table"),
    "swinv2": ("Swinv2", SWIN, "ViT", {"size": 64}, "swin-log-cpb"),
    "beit": ("Beit", SMALL | RELATIVE, "Beit", {"size": 32}, "beit-table"),
    "beit, shared": ("Beit", SMALL | SHARED, "Beit", {"size": 32}, "beit-table"),
    "beit, shared, tanh": ("Beit", SMALL | SHARED | {"hidden_act": "gelu_new"}, "Beit", {"size": 32}, "beit-table"),
    "data2vec": ("Data2VecVision", SMALL | RELATIVE, "Beit", {"size": 32}, "beit-table"),
    "vit": ("ViT", SMALL, "ViT", {"size": 32}, "learned"),
    "vit, relu": ("ViT", SMALL | {"hidden_act": "relu"}, "ViT", {"size": 32}, "learned"),
    "levit": ("Levit", LEVIT, "Levit", {"size": {"shortest_edge": 64}, "crop_size": 64}, "native"),
    "dinov2": (
        "Dinov2",
        SMALL | {"image_size": 64},
        "Bit",
        {"size": {"shortest_edge": 40}, "crop_size": 32},
        "learned",
    ),
    "pvt": ("Pvt", PVT, "Pvt", {"size": 64}, "native"),
    "convnext": ("ConvNext", CONVNEXT, "ConvNext", {"size": {"shortest_edge": 64}, "crop_pct": 0.875}, "native"),
}


def folder_of(name: str, folder: Path) -> Any:  # noqa: ANN401 -- transformers' module
    """Save a small network with its weights and preprocessing, and return it."""
    kind, options, processor, sizes, _ = NETWORKS[name]
    config = getattr(transformers, f"{kind}Config")(**options, id2label=LABELS)
    model = getattr(transformers, f"{kind}ForImageClassification")(config)
    scramble(model, seed=3).save_pretrained(folder)  # type: ignore[operator]
    getattr(transformers, f"{processor}ImageProcessor")(**sizes).save_pretrained(folder)
    return model


def load(folder: Path, weights: Weights, overrides: Overrides | None = None) -> Loaded:
    return load_source(f"transformers:{folder}", weights, overrides or Overrides())


def images(loaded: Loaded) -> Tensor:
    return torch.randn(2, 3, *loaded.image_size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_way_to_give_weights_gives_transformers_logits(name: str, tmp_path: Path) -> None:
    theirs = folder_of(name, tmp_path)
    for weights in (Pretrained(), Checkpoint(tmp_path), Checkpoint(tmp_path / "model.safetensors")):
        loaded = load(tmp_path, weights)
        assert relative_error(logits_of(loaded.network, images(loaded)), logits_of(theirs, images(loaded))) < 1e-5
        assert (loaded.num_classes, loaded.labels) == (3, ("cat", "dog", "newt"))
    assert loaded.encoding == NETWORKS[name][-1]
    assert loaded.architecture == type(theirs).__name__
    drawn = logits_of(load(tmp_path, RandomWeights(1)).network, images(loaded))
    assert drawn.isfinite().all()
    assert float(drawn.std()) > 0.05
    assert torch.equal(drawn, logits_of(load(tmp_path, RandomWeights(1)).network, images(loaded)))


def test_the_architecture_is_that_of_the_wrapped_module(tmp_path: Path) -> None:
    folder_of("levit", tmp_path)
    loaded = load(tmp_path, Pretrained())
    assert type(loaded.network.network).__name__ == loaded.architecture == "LevitForImageClassification"


def test_a_checkpoint_folder_may_be_sharded_and_sets_the_classes(tmp_path: Path) -> None:
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    folder_of("levit", base)
    config = transformers.LevitConfig(**LEVIT, id2label={0: "oak", 1: "elm"})
    theirs: Any = scramble(transformers.LevitForImageClassification(config), seed=4)
    theirs.save_pretrained(tuned, max_shard_size="20KB")
    assert (tuned / "model.safetensors.index.json").exists()
    loaded = load(base, Checkpoint(tuned))
    assert loaded.labels == ("oak", "elm")
    assert torch.equal(logits_of(loaded.network, images(loaded)), logits_of(theirs, images(loaded)))
    theirs.save_pretrained(tmp_path / "one")
    file = load(base, Checkpoint(tmp_path / "one" / "model.safetensors"))
    assert (file.num_classes, file.labels) == (2, None)  # a file does not name its classes


def test_a_folder_of_another_network_is_refused(tmp_path: Path) -> None:
    base, other, empty = tmp_path / "base", tmp_path / "other", tmp_path / "empty"
    folder_of("levit", base)
    folder_of("convnext", other)
    empty.mkdir()
    with pytest.raises(SourceError, match=r"is a convnext, but transformers:.* is a levit"):
        load(base, Checkpoint(other))
    with pytest.raises(SourceError, match=r"has no config\.json; give a folder that transformers saved"):
        load(base, Checkpoint(empty))
    with pytest.raises(SourceError, match=r"does not fit.*Its architecture is not timm:resnet18"):
        load_source("timm:resnet18", Checkpoint(base), Overrides())


def test_wrong_weights_of_a_library_module_are_named(tmp_path: Path) -> None:
    theirs = folder_of("convnext", tmp_path)
    state = theirs.state_dict()
    state["foo.bar"] = state.pop("classifier.bias")
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(SourceError, match=r"missing: classifier\.bias; unexpected: foo\.bar"):
        load(tmp_path, Checkpoint(tmp_path / "other.safetensors"))


def test_another_image_size_is_accepted_or_refused_as_in_transformers(tmp_path: Path) -> None:
    folder_of("dinov2", tmp_path / "dinov2")
    loaded = load(tmp_path / "dinov2", Pretrained(), Overrides((48, 40)))  # it resamples in every forward
    assert loaded.image_size == loaded.preprocess.size == (48, 40)
    assert logits_of(loaded.network, images(loaded)).shape == (2, 3)
    folder_of("vit, relu", tmp_path / "vit")
    larger = load(tmp_path / "vit", Pretrained(), Overrides((48, 48)))
    assert larger.resampled == ("position embedding from 4×4 to 6×6 tokens, bicubic with antialiasing",)
    folder_of("levit", tmp_path / "levit")
    with pytest.raises(SourceError, match="does not run on normalised images of 80×80"):
        load(tmp_path / "levit", Pretrained(), Overrides((80, 80)))
    assert load(tmp_path / "vit", RandomWeights(0), Overrides((48, 48))).image_size == (48, 48)
    with pytest.raises(SourceError, match="its configuration has no window_size"):
        load(tmp_path / "vit", RandomWeights(0), Overrides(window_size=2))


def test_a_folder_without_an_image_classifier_is_refused(tmp_path: Path) -> None:
    transformers.DINOv3ViTConfig(**SMALL).save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=r"no image classification for dinov3_vit; give python:"):
        load(tmp_path, RandomWeights(0))
    transformers.LevitConfig(**LEVIT).save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=r"which of LevitForImageClassification, Levit.*\"architectures\""):
        load(tmp_path, RandomWeights(0))
    folder_of("convnext", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"depths": [1]}))
    with pytest.raises(SourceError, match="transformers cannot load it: ValueError: out_features"):
        load(tmp_path, RandomWeights(0))


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (None, None),  # PVT saves only the number of classes
        ({"0": 3, "1": 1, "2": 2}, ("3", "1", "2")),
        ({"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, None),
    ],
)
def test_labels_are_the_names_in_the_configuration(names: object, labels: object, tmp_path: Path) -> None:
    folder_of("pvt" if names is None else "vit", tmp_path)
    write_labels(tmp_path, names)
    loaded = load(tmp_path, Pretrained())
    assert (loaded.num_classes, loaded.labels) == (3, labels)


@pytest.mark.parametrize("names", [{"1": "a", "2": "b", "3": "c"}, {"0": "a", "1": None, "2": "c"}])
def test_labels_that_leave_out_a_class_are_refused(names: object, tmp_path: Path) -> None:
    folder_of("vit", tmp_path)
    write_labels(tmp_path, names)
    with pytest.raises(SourceError, match=r"id2label names the classes .*, expected 0 to 2; correct config.json"):
        load(tmp_path, Pretrained())


def write_labels(folder: Path, names: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": names}))


PROCESSORS: dict[str, tuple[str, dict[str, Any], object, tuple[int, int] | None]] = {
    "a square": ("ViT", {}, (224, 224), None),
    "shorter side and crop": ("Bit", {"size": {"shortest_edge": 256}}, 256, (224, 224)),
    "one mean for all channels": ("ViT", {"image_mean": 0.4, "image_std": 0.3}, (224, 224), None),
    "a square and crop": ("DeiT", {}, (256, 256), (224, 224)),
    "LeViT's 256 for 224": ("Levit", {}, 256, (224, 224)),
    "ConvNeXt, small": ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.875}, 256, (224, 224)),
    "ConvNeXt, large": ("ConvNext", {}, (384, 384), None),
    "PoolFormer's cropped fraction": ("PoolFormer", {}, 248, (224, 224)),
    "EfficientNet, twice normalised": ("EfficientNet", {}, (346, 346), None),
    "MobileNet": ("MobileNetV2", {}, 256, (224, 224)),
    "PVT": ("Pvt", {}, (224, 224), None),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_images_are_preprocessed_as_by_their_processor(name: str) -> None:
    kind, options, resize, crop = PROCESSORS[name]
    processor = getattr(transformers, f"{kind}ImageProcessor")(**options)
    preprocess = preprocess_of("transformers:x", processor)
    assert (preprocess.resize, preprocess.crop) == (resize, crop)
    picture = Image.effect_mandelbrot((500, 375), (-2, -1, 1, 1), 50).convert("RGB")
    sides = preprocess.resize
    height, width = sides if isinstance(sides, tuple) else (sides, sides * 500 // 375)
    resampling = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    resized = picture.resize((width, height), resampling[preprocess.interpolation])
    top, left = (height - preprocess.size[0]) // 2, (width - preprocess.size[1]) // 2
    cropped = resized.crop((left, top, left + preprocess.size[1], top + preprocess.size[0]))
    expected = (np.asarray(cropped) / 255 - preprocess.mean) / preprocess.std
    found = processor(images=picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    levels = np.abs(found - expected) * preprocess.std * 255
    assert levels.mean() < 1
    shifted = np.abs(np.roll(found, 8, axis=1) - expected) * preprocess.std * 255
    assert shifted.mean() > 4  # shifted by 8 pixels, the comparison fails


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("MobileViT", {}, "but converts RGB to BGR"),
        ("ViT", {"do_normalize": False}, "does not just resize, divide by 255 and normalise"),
        ("ViT", {"resample": 4}, "interpolation: Input should be"),
        ("TextNet", {}, "a resize by the shorter side needs a crop"),
        ("Perceiver", {}, "larger than the resized image"),
        ("Perceiver", {"crop_size": 200}, r"returns \[1, 3, 224, 224\] instead of \[1, 3, 200, 200\]"),
        ("ViT", {"rescale_factor": 1 / 127.5}, "crops or normalises differently from its attributes"),
        ("EfficientNet", {"rescale_offset": True}, "crops or normalises differently from its attributes"),
        ("PPLCNet", {}, "crops or normalises differently from its attributes"),
        ("Siglip2", {}, "does not just resize, divide by 255"),
        ("ImageGPT", {}, "its image processor fails: ValueError: Clusters"),
    ],
)
def test_an_unsupported_image_processor_is_refused_with_the_reason(
    kind: str, options: dict[str, Any], message: str
) -> None:
    processor = getattr(transformers, f"{kind}ImageProcessor")(**options)
    with pytest.raises(SourceError, match=f"{message}.*python:PACKAGE.MODULE:FUNCTION"):
        preprocess_of("transformers:x", processor)
