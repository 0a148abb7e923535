"""`timm:`, `torchvision:` and `transformers:`: networks loaded by name, and refusals."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Swinv2Config, Swinv2ForImageClassification, ViTImageProcessor

from models.sources import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, load_source
from models.sources.base import Weights
from models.sources.drawing import rehearsal_images
from tests.models.sources.libraries import logits_of, relative_error, scramble

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5  # relative to the largest logit, in float32
SECONDS = 5.0  # of CPU time, to load a full-size network from its file

SMALL: dict[str, Any] = {"embed_dim": 24, "depths": (2, 1, 1, 1)}
"""Options of a small Swin of timm; a full-size one takes a second each time that it is built."""

SMALL_SWIN: dict[str, Any] = {"embed_dim": 24, "depths": [2, 2], "num_heads": [2, 3], "num_labels": 6}


def load(source: str, weights: Weights, overrides: Overrides | None = None) -> Loaded:
    return load_source(source, weights, overrides or Overrides())


def authors_key(key: str) -> str:
    """Return the name of a timm weight in the Swin authors' repository."""
    parts = key.split(".")
    if parts[2:3] == ["downsample"]:
        parts[1] = str(int(parts[1]) - 1)
    return ".".join(parts).replace("head.fc.", "head.")


def swin_folder(folder: Path) -> Swinv2ForImageClassification:
    """Save a small transformers Swin, with weights and preprocessing, and return it."""
    config: dict[str, Any] = {
        "image_size": 64,
        "embed_dim": 24,
        "depths": [2, 2],
        "num_heads": [2, 3],
        "window_size": 4,
    }
    config |= {"pretrained_window_sizes": [0, 0], "id2label": {0: "cat", 1: "dog", 2: "newt"}}
    model = Swinv2ForImageClassification(Swinv2Config(**config))
    scramble(model, seed=3)
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("source", "resize", "crop"),
    [
        ("timm:swin_tiny_patch4_window7_224", 248, 224),
        ("timm:swinv2_tiny_window8_256", 284, 256),
        ("torchvision:swin_t", 232, 224),
        ("torchvision:swin_v2_t", 260, 256),
    ],
)
def test_a_full_size_network_has_the_librarys_logits_and_preprocessing(
    source: str, resize: int, crop: int, tmp_path: Path
) -> None:
    library, _, name = source.partition(":")
    theirs = timm.create_model(name) if library == "timm" else torchvision.models.get_model(name)
    save_file(scramble(theirs, seed=1).state_dict(), tmp_path / "weights.safetensors")
    start = time.process_time()
    loaded = load(source, Checkpoint(tmp_path / "weights.safetensors"))
    assert time.process_time() - start < SECONDS
    assert (loaded.name, loaded.num_classes, loaded.resampled) == (source, 1000, ())
    assert loaded.labels is not None
    assert loaded.labels[0].startswith("tench")
    images = torch.randn(1, 3, *loaded.image_size, generator=torch.Generator().manual_seed(1))
    assert relative_error(logits_of(loaded.network, images), logits_of(theirs, images)) <= TOLERANCE
    prepared = loaded.preprocess
    assert (prepared.resize, prepared.crop, prepared.interpolation) == (resize, (crop, crop), "bicubic")
    assert prepared.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_files_with_the_authors_keys_and_buffers_are_loaded_like_timms(name: str, tmp_path: Path) -> None:
    theirs = scramble(timm.create_model(name, **SMALL), seed=1)
    state = {authors_key(key): tensor for key, tensor in theirs.state_dict().items()}
    assert "layers.0.downsample.norm.weight" in state
    computed = {
        authors_key(key): buffer
        for key, buffer in theirs.named_buffers()
        if key.endswith(("relative_position_index", "relative_coords_table", "attn_mask"))
    }
    assert "layers.0.blocks.1.attn_mask" in computed
    torch.save({"model": state | computed}, tmp_path / "swin.pth")
    save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    files = [Checkpoint(tmp_path / file) for file in ("swin.pth", "timm.safetensors")]
    authors, timms = (load(f"timm:{name}", file, Overrides(model_args=SMALL)) for file in files)
    for key, tensor in timms.network.state_dict().items():
        assert torch.equal(tensor, authors.network.state_dict()[key])


def test_a_transformers_folder_has_transformers_logits_however_its_weights_are_given(tmp_path: Path) -> None:
    theirs = swin_folder(tmp_path / "newts")
    source = f"transformers:{tmp_path / 'newts'}"
    images = torch.randn(2, 3, 64, 64)
    for weights in (Pretrained(), Checkpoint(tmp_path / "newts" / "model.safetensors")):
        loaded = load(source, weights)
        assert relative_error(logits_of(loaded.network, images), logits_of(theirs, images)) <= TOLERANCE
    assert loaded.name == "transformers:newts"
    assert loaded.labels == ("cat", "dog", "newt")
    assert loaded.preprocess.model_dump(exclude_none=True) == {
        "resize": (64, 64),
        "interpolation": "bilinear",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }


def test_a_full_size_transformers_network_is_built_from_its_folder(tmp_path: Path) -> None:
    Swinv2Config(image_size=256, window_size=8).save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    content["architectures"] = ["Swinv2ForImageClassification"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    ViTImageProcessor(size={"height": 256, "width": 256}, resample=3).save_pretrained(tmp_path)
    start = time.process_time()
    loaded = load(f"transformers:{tmp_path}", RandomWeights(1))
    assert time.process_time() - start < SECONDS
    assert loaded.encoding == "swin-log-cpb"
    assert loaded.preprocess.interpolation == "bicubic"
    assert loaded.labels is None  # transformers' names LABEL_0, LABEL_1 are placeholders


def test_another_size_changes_network_tables_and_preprocessing(tmp_path: Path) -> None:
    theirs = scramble(torchvision.models.get_model("swin_t"), seed=1)
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    weights = Checkpoint(tmp_path / "weights.safetensors")
    loaded = load("torchvision:swin_t", weights, Overrides((192, 192), window_size=6))
    assert loaded.image_size == loaded.preprocess.size == (192, 192)
    assert loaded.resampled == ("relative position tables of stage 0, 1, 2, 3 from 7×7 to 6×6 windows, bicubic",)


def test_windows_that_do_not_divide_the_grid_are_padded_by_the_librarys_own_module(tmp_path: Path) -> None:
    name, two_stages = "swin_tiny_patch4_window7_224", SMALL | {"depths": (2, 2), "num_heads": (2, 3)}
    theirs = scramble(timm.create_model(name, img_size=78, num_classes=9, **two_stages), seed=1)
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    weights = Checkpoint(tmp_path / "weights.safetensors")
    loaded = load(f"timm:{name}", weights, Overrides((78, 78), model_args=two_stages))
    assert (loaded.image_size, loaded.num_classes, loaded.resampled) == ((78, 78), 9, ())
    images = rehearsal_images((78, 78), seed=3)[:2]
    assert torch.equal(logits_of(loaded.network, images), logits_of(theirs, images))


def test_random_weights_at_a_size_that_torchvision_pads_give_finite_logits() -> None:
    loaded = load("torchvision:swin_t", RandomWeights(0), Overrides((200, 300)))
    assert loaded.image_size == loaded.preprocess.size == (200, 300)
    assert logits_of(loaded.network, rehearsal_images((200, 300), seed=3)[:1]).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "sizes"), [("Swin", {"image_size": 100}), ("Swinv2", {"image_size": 56, "window_size": 5})]
)
def test_a_folder_trained_with_padded_windows_has_transformers_logits(
    kind: str, sizes: dict[str, int], tmp_path: Path
) -> None:
    config = getattr(transformers, f"{kind}Config")(**SMALL_SWIN, **sizes)
    theirs = scramble(getattr(transformers, f"{kind}ForImageClassification")(config), seed=1)
    theirs.save_pretrained(tmp_path)  # type: ignore[operator]  # a method of transformers
    side = config.image_size
    ViTImageProcessor(size={"height": side, "width": side}).save_pretrained(tmp_path)
    images = rehearsal_images((side, side), seed=3)[:2]
    loaded = load(f"transformers:{tmp_path}", Pretrained())
    assert torch.equal(logits_of(loaded.network, images), logits_of(theirs, images))


def test_a_size_that_timm_does_not_support_is_refused() -> None:
    with pytest.raises(SourceError, match=r"does not run on normalised images of 150×170.*divisible by patch size"):
        load("timm:test_vit", RandomWeights(0), Overrides((150, 170)))


def test_a_checkpoint_of_another_task_sets_the_number_of_classes(tmp_path: Path) -> None:
    theirs = scramble(timm.create_model("swin_tiny_patch4_window7_224", num_classes=37, **SMALL), seed=1)
    save_file(theirs.state_dict(), tmp_path / "pets.safetensors")
    file = Checkpoint(tmp_path / "pets.safetensors")
    loaded = load("timm:swin_tiny_patch4_window7_224", file, Overrides(model_args=SMALL))
    assert loaded.num_classes == 37
    assert loaded.labels is None


def test_wrong_keys_and_shapes_are_named_as_in_the_library(tmp_path: Path) -> None:
    source, small = "timm:swin_tiny_patch4_window7_224", Overrides(model_args=SMALL)
    state = dict(timm.create_model("swin_tiny_patch4_window7_224", **SMALL).state_dict())
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    wrong: dict[str, tuple[dict[str, Tensor], str]] = {
        "cut": (dict(list(state.items())[:-5]), r"missing: layers\.3.* and 2 more"),
        "renamed": ({f"{key}.data": value for key, value in state.items()}, r"missing: .*; unexpected: head"),
        "other": (state | {table: torch.zeros(1, 3)}, r"relative_position_bias_table is \[1, 3\], expected \[169, 3\]"),
        "nan": (state | {table: state[table] * float("nan")}, "NaN or infinity in layers.0.blocks.0.attn"),
    }
    for name, (content, message) in wrong.items():
        save_file(content, tmp_path / f"{name}.safetensors")
        with pytest.raises(SourceError, match=message):
            load(source, Checkpoint(tmp_path / f"{name}.safetensors"), small)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes()[:9999])
    with pytest.raises(SourceError, match="truncated"):
        load(source, Checkpoint(tmp_path / "cut.safetensors"), small)


def test_wrong_keys_and_shapes_of_a_transformers_file_are_named(tmp_path: Path) -> None:
    swin_folder(tmp_path)
    file, other = tmp_path / "model.safetensors", tmp_path / "other.safetensors"
    state = load_file(file)
    state["foo.bar"] = state.pop("swinv2.layernorm.bias")
    state["swinv2.encoder.layers.0.blocks.1.attention.self.relative_position_index"] = torch.zeros(1)
    save_file(state, other)
    message = r"missing: swinv2\.layernorm\.bias; unexpected: foo\.bar\. It was"  # and not the index, which is computed
    with pytest.raises(SourceError, match=message):
        load(f"transformers:{tmp_path}", Checkpoint(other))
    save_file(load_file(file) | {"swinv2.layernorm.bias": torch.zeros(5)}, other)
    with pytest.raises(SourceError, match=r"swinv2\.layernorm\.bias is \[5\], expected"):
        load(f"transformers:{tmp_path}", Checkpoint(other))
    other.replace(file)
    with pytest.raises(SourceError, match=r"swinv2\.layernorm\.bias is \[5\], expected"):
        load(f"transformers:{tmp_path}", Pretrained())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("timm:swin_t", "timm cannot build it: Unknown model"),
        ("torchvision:raft_small", "does not classify images"),
        ("torchvision:swin", "torchvision cannot build it: Unknown model"),
        ("transformers:./no/such/folder", "no such folder"),
    ],
)
def test_a_name_that_is_no_image_classifier_is_refused(source: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        load(source, RandomWeights(0))


def test_a_folder_without_supported_preprocessing_is_refused(tmp_path: Path) -> None:
    swin_folder(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=r"returns images of \(32, 32\), its network takes \(64, 64\)"):
        load(f"transformers:{tmp_path}", RandomWeights(0))
    ViTImageProcessor(size={"height": 64, "width": 64}, do_normalize=False).save_pretrained(tmp_path)
    with pytest.raises(SourceError, match="does not just resize, divide by 255 and normalise"):
        load(f"transformers:{tmp_path}", RandomWeights(0))
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(SourceError, match=r"has no preprocessor_config\.json, .*, such as ") as raised:
        load(f"transformers:{tmp_path}", RandomWeights(0))
    shown = json.loads(str(raised.value).partition("such as ")[2])
    shown["size"] = {"height": 64, "width": 64}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(shown))
    loaded = load(f"transformers:{tmp_path}", RandomWeights(0))
    assert (loaded.preprocess.resize, loaded.preprocess.interpolation) == ((64, 64), "bicubic")


def test_a_folder_of_timm_with_oblong_images_is_accepted_in_either_crop_mode(tmp_path: Path) -> None:
    theirs = timm.create_model("test_vit", img_size=(64, 32), num_classes=5)
    save_file(scramble(theirs, seed=1).state_dict(), tmp_path / "model.safetensors")
    config: dict[str, Any] = {"architecture": "test_vit", "num_classes": 5, "model_args": {"img_size": [64, 32]}}
    prepared = {"input_size": [3, 64, 32], "crop_mode": "center", "crop_pct": 1.0, "mean": [0.5] * 3, "std": [0.5] * 3}
    (tmp_path / "config.json").write_text(json.dumps(config | {"pretrained_cfg": prepared}))
    assert load(f"timm:local-dir:{tmp_path}", Pretrained()).preprocess.keep_aspect is True
    prepared["crop_mode"] = "squash"
    (tmp_path / "config.json").write_text(json.dumps(config | {"pretrained_cfg": prepared}))
    loaded = load(f"timm:local-dir:{tmp_path}", Pretrained())
    assert (loaded.image_size, loaded.num_classes, loaded.preprocess.resize) == ((64, 32), 5, (64, 32))


def test_unreachable_pretrained_weights_are_reported_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    with pytest.raises(
        SourceError, match=r"^torchvision:swin_t: its weights are not available; give --checkpoint.*no network"
    ):
        load("torchvision:swin_t", Pretrained())


def test_libraries_are_imported_on_demand_only() -> None:
    script = "import sys, models.sources; print({'timm', 'torchvision', 'transformers'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "set()\n"
    )
