"""Networks loaded as their library's own modules: weights, sizes, classes and refusals."""

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from artifact import Preprocess
from models.sources import Checkpoint, Loaded, Overrides, RandomWeights, SourceError, load_source
from models.sources.drawing import rehearsal_images
from models.sources.library_module import finish
from tests.models.sources.libraries import logits_of, relative_error, scramble

pytestmark = pytest.mark.slow

SMALLEST_EFFECT = 1e-3  # relative to the largest logit; a thousand times the rounding of float32
TABLES = ("rel_pos", "relative_position", "attention_bias", "pos_emb", "meta_mlp", "height_rel", "width_rel")
HEADLESS = {"eva02_tiny_patch14_224", "vit_small_patch16_dinov3"}
ONE_SIZE = {"timm:efficientformer_l1", "timm:halonet26t", "torchvision:maxvit_t"}
"""Networks that do not run on smaller images than those of training, on which a test takes three times as long."""


def load(source: str, weights: Checkpoint | RandomWeights, overrides: Overrides | None = None) -> Loaded:
    return load_source(source, weights, overrides or Overrides())


def checkpoint_of(model: nn.Module, folder: Path, **others: Tensor) -> Checkpoint:
    save_file(model.state_dict() | others, folder / "weights.safetensors")
    return Checkpoint(folder / "weights.safetensors")


def images_for(loaded: Loaded) -> Tensor:
    return rehearsal_images(loaded.image_size, seed=9)[:2]  # not noise, whose tokens are all alike


@pytest.mark.parametrize(
    ("source", "architecture", "has_tables"),
    [
        ("timm:swinv2_cr_tiny_224", "SwinTransformerV2Cr", True),
        ("timm:maxvit_rmlp_pico_rw_256", "MaxxVit", True),
        ("timm:levit_128s", "LevitDistilled", True),
        ("timm:mvitv2_tiny", "MultiScaleVit", True),
        ("timm:eva02_tiny_patch14_224", "Eva", True),
        ("timm:vit_small_patch16_dinov3", "Eva", False),  # its rotation is computed, not learned
        ("timm:efficientformer_l1", "EfficientFormer", True),
        ("timm:efficientformerv2_s0", "EfficientFormerV2", True),
        ("timm:tiny_vit_5m_224", "TinyVit", True),
        ("timm:gcvit_xxtiny", "GlobalContextVit", True),
        ("timm:halonet26t", "ByobNet", True),
        ("timm:lambda_resnet26rpt_256", "ByobNet", True),
        ("timm:convit_tiny", "ConVit", True),
        ("timm:xcit_nano_12_p16_224", "Xcit", True),
        ("timm:resnet18", "ResNet", False),
        ("torchvision:maxvit_t", "MaxVit", True),
        ("torchvision:resnet18", "ResNet", False),
    ],
)
def test_random_weights_give_logits_that_depend_on_the_image_and_the_tables(
    source: str, architecture: str, has_tables: bool
) -> None:
    classes = 7 if source.partition(":")[2] in HEADLESS else None
    size = None if source in ONE_SIZE else (128, 128)
    loaded = load(source, RandomWeights(0), Overrides(size, num_classes=classes))
    named = {"timm:eva02_tiny_patch14_224": "learned+rope", "timm:vit_small_patch16_dinov3": "rope"}
    assert (loaded.architecture, loaded.encoding) == (architecture, named.get(source, "native"))
    assert not any(module.training for module in loaded.network.modules())
    images = images_for(loaded)
    logits = logits_of(loaded.network, images)
    assert logits.shape == (2, loaded.num_classes)
    assert logits.isfinite().all()
    assert 0.05 < float(logits.std()) < float(logits.abs().max()) < 1e3
    assert relative_error(logits[:1], logits[1:]) > SMALLEST_EFFECT  # it depends on the image
    tables = [p for name, p in loaded.network.named_parameters() if any(table in name for table in TABLES)]
    assert bool(tables) == has_tables
    if tables:
        with torch.no_grad():
            for table in tables:
                table.zero_()
        loaded.network.train()  # clears the biases that timm caches in eval mode
        loaded.network.eval()
        assert relative_error(logits_of(loaded.network, images), logits) > SMALLEST_EFFECT


@pytest.mark.parametrize("source", ["timm:levit_128s", "timm:xcit_nano_12_p16_224"])
def test_the_seed_alone_determines_random_weights(source: str) -> None:
    size = Overrides((64, 64))
    torch.manual_seed(1)
    first = load(source, RandomWeights(3), size).network.state_dict()
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    again = load(source, RandomWeights(3), size).network.state_dict()
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(tensor, again[key]) for key, tensor in first.items())
    other = load(source, RandomWeights(4), size).network.state_dict()
    changed = [key for key in first if not torch.equal(first[key], other[key])]
    assert {key for key, tensor in first.items() if tensor.is_floating_point()} == set(changed)


def test_a_checkpoint_gives_the_librarys_logits_and_its_number_of_classes(tmp_path: Path) -> None:
    for source, theirs in (
        ("timm:levit_128s", timm.create_model("levit_128s", num_classes=5)),
        ("timm:eva02_tiny_patch14_224", timm.create_model("eva02_tiny_patch14_224", num_classes=5)),
        ("torchvision:resnet18", torchvision.models.get_model("resnet18", num_classes=5)),
    ):
        loaded = load(source, checkpoint_of(scramble(theirs, seed=1), tmp_path))
        assert (loaded.num_classes, loaded.labels, loaded.resampled) == (5, None, ())
        images = images_for(loaded)
        assert torch.equal(logits_of(loaded.network, images), logits_of(theirs, images))


def test_the_authors_keys_are_converted_as_timm_does(tmp_path: Path) -> None:
    theirs = scramble(timm.create_model("xcit_nano_12_p16_224"), seed=1)
    authors = {}
    for key, tensor in theirs.state_dict().items():
        if ".attn.q." in key and "cls_attn" in key:
            parts = [theirs.state_dict()[key.replace(".q.", f".{letter}.")] for letter in "qkv"]
            authors[key.replace(".q.", ".qkv.")] = torch.cat(parts)
        elif "cls_attn" not in key or not any(f".attn.{letter}." in key for letter in "kv"):
            authors[key.replace("pos_embed.", "pos_embeder.")] = tensor
    assert authors.keys() != theirs.state_dict().keys()
    torch.save({"model": authors}, tmp_path / "xcit.pth")
    loaded = load("timm:xcit_nano_12_p16_224", Checkpoint(tmp_path / "xcit.pth"))
    images = images_for(loaded)
    assert torch.equal(logits_of(loaded.network, images), logits_of(theirs, images))


def test_wrong_keys_and_shapes_are_named(tmp_path: Path) -> None:
    theirs = timm.create_model("levit_128s")
    state = theirs.state_dict()
    table = "stages.0.blocks.0.attn.attention_biases"
    for content, message in (
        ({f"{key}.data": tensor for key, tensor in state.items()}, r"missing: stem.*; unexpected: head"),
        (state | {table: torch.zeros(4, 9)}, rf"{table} is \[4, 9\], expected \[4, 196\]|another size than"),
        (state | {table: state[table] * float("nan")}, "NaN or infinity in stages"),
    ):
        save_file(content, tmp_path / "wrong.safetensors")
        with pytest.raises(SourceError, match=message):
            load("timm:levit_128s", Checkpoint(tmp_path / "wrong.safetensors"))


def test_tables_of_another_size_are_not_resampled_silently(tmp_path: Path) -> None:
    larger = timm.create_model("mvitv2_tiny", img_size=256)
    checkpoint = checkpoint_of(larger, tmp_path)
    with pytest.raises(SourceError, match=r"was trained at another .*size.*--trained-image-size"):
        load("timm:mvitv2_tiny", checkpoint)


def test_another_image_size_uses_timms_resampling_with_a_note(tmp_path: Path) -> None:
    trained = scramble(timm.create_model("mvitv2_tiny", num_classes=5, img_size=64), seed=1)
    overrides = Overrides((128, 128), trained_image_size=(64, 64))
    loaded = load("timm:mvitv2_tiny", checkpoint_of(trained, tmp_path), overrides)
    assert loaded.image_size == loaded.preprocess.size == (128, 128)
    [sentence] = loaded.resampled
    assert sentence.startswith("by timm: stages.0.blocks.0.attn.rel_pos_h from [31, 96] to [63, 96], ")
    theirs = timm.create_model("mvitv2_tiny", num_classes=5, img_size=128).eval()
    convert: Any = timm.models.mvitv2.checkpoint_filter_fn
    theirs.load_state_dict(convert(trained.state_dict(), theirs))
    images = images_for(loaded)
    assert torch.equal(logits_of(loaded.network, images), logits_of(theirs, images))


def test_a_size_that_the_library_does_not_support_is_refused(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(timm.create_model("levit_128s"), tmp_path)
    for source, weights, overrides, message in (
        ("timm:levit_128s", checkpoint, Overrides((256, 256)), r"\[4, 196\], expected \[4, 256\].*cannot resample it"),
        ("timm:levit_128s", RandomWeights(0), Overrides(window_size=7), "has no option window_size for it"),
        ("timm:halonet26t", RandomWeights(0), Overrides((96, 64)), "does not run on .* of 96×64: AssertionError$"),
        ("torchvision:maxvit_t", RandomWeights(0), Overrides((230, 230)), "torchvision:maxvit_t: "),
        ("torchvision:maxvit_t", RandomWeights(0), Overrides(window_size=7), "leave out --window-size"),
    ):
        with pytest.raises(SourceError, match=message):
            load(source, weights, overrides)


def test_convolutions_accept_any_size() -> None:
    for source in ("timm:resnet18", "torchvision:resnet18"):
        loaded = load(source, RandomWeights(0), Overrides((96, 64)))
        assert loaded.image_size == loaded.preprocess.size == (96, 64)
        assert logits_of(loaded.network, images_for(loaded)).shape == (2, 1000)


def test_a_window_size_is_passed_to_timms_constructor() -> None:
    loaded = load("timm:swinv2_cr_tiny_224", RandomWeights(0), Overrides((112, 112), window_size=14))
    network: nn.Module = loaded.network
    assert network.get_submodule("stages.0.blocks.0").window_size == (14, 14)


def test_a_network_without_a_head_is_refused_with_the_remedy(tmp_path: Path) -> None:
    for weights in (RandomWeights(0), checkpoint_of(timm.create_model("eva02_tiny_patch14_224"), tmp_path)):
        with pytest.raises(SourceError, match=r"Eva has no classification head.*--labels FILE.*python:"):
            load("timm:eva02_tiny_patch14_224", weights)
    loaded = load("timm:resnet18", RandomWeights(0), Overrides(num_classes=3))
    assert loaded.num_classes == 1000  # it has a head


class Features(nn.Module):
    """A network that returns something other than logits."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, images: Tensor) -> object:
        pooled = images.mean((2, 3))
        kinds = {"map": images, "ids": pooled.argmax(1), "pair": (pooled, images), "dict": {"features": pooled}}
        return kinds[self.kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("map", r"Features returns float32 \[2, 3, 8, 8\] for 2 images instead of float logits \[2, classes\]"),
        ("ids", r"returns int64 \[2\]"),
        ("pair", r"returns tuple of float32 \[2, 3\], float32 \[2, 3, 8, 8\]"),
        ("dict", r"returns dict of features float32 \[2, 3\].*give python:PACKAGE\.MODULE:FUNCTION"),
    ],
)
def test_an_output_other_than_logits_is_refused_with_its_type_and_shape(kind: str, message: str) -> None:
    preprocess = Preprocess(resize=(8, 8), interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(SourceError, match=message):
        finish("timm:x", "timm:x", Features(kind), preprocess, (8, 8))


def test_inspecting_a_network_leaves_its_caches_empty() -> None:
    loaded = load("timm:levit_128s", RandomWeights(0))
    attention = loaded.network.get_submodule("stages.0.blocks.0.attn")
    assert attention.attention_bias_cache == {}
    logits_of(loaded.network, images_for(loaded))
    assert attention.attention_bias_cache != {}  # a run fills the cache


def test_images_are_preprocessed_as_in_the_library() -> None:
    levit = load("timm:levit_128s", RandomWeights(0)).preprocess
    assert (levit.resize, levit.crop) == (math.floor(224 / 0.9), (224, 224))
