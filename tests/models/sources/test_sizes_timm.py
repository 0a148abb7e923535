"""timm's networks at other sizes than those of training, compared with timm's own resizing."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple
from torch import Tensor, nn

from models.sources import Loaded, SourceError
from tests.models.sources.checkpoints.small import load, saved
from tests.models.sources.libraries import POSITIONS, TOLERANCE, logits_of, randomise_library, relative_error, scramble

pytestmark = pytest.mark.slow

EXACT = 1e-12  # relative to the largest logit, in float64

VIT: dict[str, Any] = {"embed_dim": 48, "num_heads": 3, "depth": 2}
VITS: dict[str, tuple[dict[str, Any], str]] = {  # more options, and the name of the encoding
    "vit_tiny_patch16_224": ({}, "learned"),
    "vit_base_patch14_reg4_dinov2": ({"patch_size": 16}, "learned"),  # CLS and registers without a position
    "vit_medium_patch16_gap_256": ({}, "learned"),
    "vit_base_patch16_siglip_224": ({}, "learned"),
    "deit_tiny_distilled_patch16_224": ({}, "learned"),
    "deit3_small_patch16_224": ({}, "learned"),
    "beit_base_patch16_224": ({}, "beit-table"),
    "beit_large_patch16_224": (
        {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "use_abs_pos_emb": True},
        "learned+beit-table",
    ),
    "vit_relpos_small_patch16_224": ({}, "relpos-mlp"),
    "vit_relpos_base_patch16_224": ({"rel_pos_type": "bias"}, "swin-table"),
    "vit_relpos_base_patch16_cls_224": ({"rel_pos_type": "bias"}, "beit-table"),
    "vit_relpos_medium_patch16_224": ({"rel_pos_type": "mlp-swin"}, "swin-log-cpb"),
    "vit_srelpos_small_patch16_224": ({}, "relpos-mlp"),
    "eva02_tiny_patch14_224": ({"patch_size": 16}, "learned+rope"),
    "vit_small_patch16_dinov3": ({}, "rope"),
    "vit_small_patch16_rope_ape_224": ({}, "learned+rope"),
    "vit_small_patch16_rope_mixed_224": ({}, "rope-mixed"),
    "vit_medium_patch16_rope_reg1_gap_256": ({}, "rope"),  # positions scaled to the grid of training
}
SWIN: dict[str, Any] = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 3)}


def images_of(size: tuple[int, int], batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(3)).double()


def errors(loaded: Loaded, theirs: nn.Module) -> list[float]:
    """Return the largest relative error at batches 1 and 3, in float64."""
    images = images_of(loaded.image_size)
    network, expected = loaded.network.double(), theirs.double()
    return [relative_error(logits_of(network, images[:n]), logits_of(expected, images[:n])) for n in (1, 3)]


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning")  # both in timm's interpolation of tables
@pytest.mark.parametrize("size", [(64, 48), (32, 80)])
@pytest.mark.parametrize("name", VITS)
def test_a_vit_at_another_image_size_equals_timms(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    options, encoding = VITS[name]
    options = VIT | options
    model: Any = timm.create_model(name, img_size=(32, 48), num_classes=7, **options)
    randomise_library(model)
    file = saved(model.state_dict(), tmp_path / "x")
    loaded = load(f"timm:{name}", file, trained_image_size=(32, 48), image_size=size, model_args=options)
    model.set_input_size(img_size=size)
    assert max(errors(loaded, model)) < TOLERANCE  # timm interpolates in float32
    assert loaded.encoding == encoding
    assert loaded.image_size == loaded.preprocess.size == size
    learned_for_a_grid = [word for word in ("learned", "table") if word in encoding]
    assert len(loaded.resampled) == len(learned_for_a_grid)
    assert all(f"from 2×3 to {size[0] // 16}×{size[1] // 16} tokens" in sentence for sentence in loaded.resampled)
    tables = [parameter for key, parameter in model.named_parameters() if any(word in key for word in POSITIONS)]
    assert bool(tables) == (encoding != "rope")
    if tables:
        with torch.no_grad():
            for table in tables:
                table.zero_()
        model.train().eval()  # clears the biases that timm caches in eval mode
        assert max(errors(loaded, model)) > 100 * TOLERANCE  # the comparison is able to fail


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "beit_base_patch16_224"])
def test_an_image_below_the_patch_size_is_refused(name: str, tmp_path: Path) -> None:
    file = saved(timm.create_model(name, img_size=32, **VIT).state_dict(), tmp_path / "x")
    with pytest.raises(SourceError, match="smaller than a patch of the network; choose a larger --image-size"):
        load(f"timm:{name}", file, trained_image_size=(32, 32), image_size=(32, 15), model_args=VIT)


def with_tables(model: nn.Module, window: int) -> dict[str, Tensor]:
    """Return the weights of a Swin, with tables resampled to another window by timm's bicubic function."""
    rows = (2 * window - 1) ** 2
    return {
        key: resize_rel_pos_bias_table_simple(tensor, (window, window), (rows, tensor.shape[1]))
        if "bias_table" in key
        else tensor
        for key, tensor in model.state_dict().items()
    }


def test_tables_of_windows_are_resampled_bicubically_as_swins_authors_do(tmp_path: Path) -> None:
    name = "swin_tiny_patch4_window7_224"
    model = scramble(timm.create_model(name, img_size=64, window_size=4, num_classes=7, **SWIN), seed=2)
    theirs: Any = timm.create_model(name, img_size=(96, 192), window_size=6, num_classes=7, **SWIN).eval()
    theirs.load_state_dict(with_tables(model, 6))
    stated: dict[str, Any] = {"trained_image_size": (64, 64), "trained_window_size": 4, "model_args": SWIN}
    file = saved(model.state_dict(), tmp_path / "x")
    loaded = load(f"timm:{name}", file, image_size=(96, 192), window_size=6, **stated)
    assert max(errors(loaded, theirs)) < EXACT
    assert loaded.resampled == ("relative position tables of stage 0, 1 from 4×4 to 6×6 windows, bicubic",)
    with torch.no_grad():
        theirs.layers[0].blocks[1].attn.relative_position_bias_table.mul_(0.5)
    theirs.train().eval()  # clears the biases that timm caches in eval mode
    assert max(errors(loaded, theirs)) > 1e-4  # the comparison is able to fail


def test_windows_are_unchanged_at_another_image_size(tmp_path: Path) -> None:
    name, windows = "swin_s3_tiny_224", ((8, 8), (4, 4))
    model = scramble(timm.create_model(name, img_size=64, window_size=windows, num_classes=7, **SWIN), seed=2)
    theirs = timm.create_model(name, img_size=(128, 64), window_size=windows, num_classes=7, **SWIN).eval()
    theirs.load_state_dict(model.state_dict())
    stated: dict[str, Any] = {"trained_image_size": (64, 64), "model_args": SWIN | {"window_size": windows}}
    loaded = load(f"timm:{name}", saved(model.state_dict(), tmp_path / "x"), image_size=(128, 64), **stated)
    assert max(errors(loaded, theirs)) < EXACT
    assert loaded.resampled == ()


@pytest.mark.parametrize(("before", "unit"), [((0, 0), (8, 4)), ((6, 3), (6, 3))])
def test_the_bias_of_version_2_keeps_the_units_of_its_first_training(
    before: tuple[int, int], unit: tuple[int, int], tmp_path: Path
) -> None:
    name, options = "swinv2_tiny_window8_256", SWIN | {"pretrained_window_sizes": before}
    # The last stage has 4×4 tokens, and so has its window.
    model = scramble(timm.create_model(name, img_size=32, window_size=8, num_classes=7, **options), seed=2)
    changes = {"img_size": 96, "window_size": 12, "pretrained_window_sizes": unit}
    theirs = timm.create_model(name, num_classes=7, **SWIN | changes).eval()
    theirs.load_state_dict(model.state_dict())
    stated: dict[str, Any] = {"trained_image_size": (32, 32), "trained_window_size": 8, "model_args": options}
    file = saved(model.state_dict(), tmp_path / "x")
    loaded = load(f"timm:{name}", file, image_size=(96, 96), window_size=12, **stated)
    assert max(errors(loaded, theirs)) < EXACT
    assert [sentence.rpartition(" stage ")[2] for sentence in loaded.resampled] == [
        "0 from 8×8 to 12×12 windows, recomputed from the windows of training",
        "1 from 4×4 to 12×12 windows, recomputed from the windows of training",
    ]
    wrong = timm.create_model(name, num_classes=7, **SWIN | changes | {"pretrained_window_sizes": (0, 0)}).eval()
    wrong.load_state_dict(model.state_dict())
    assert max(errors(loaded, wrong)) > 1e-4  # the comparison is able to fail


def test_the_tables_of_every_swin_of_timm_are_found() -> None:
    from models.sources.timm_library import in_timm

    names = [name for name in timm.list_models("swin*") if not name.startswith("swinv2_cr")]
    assert len(names) > 20
    with torch.device("meta"):
        for name in names:
            model: Any = timm.create_model(name, depths=(2, 1, 1, 1))  # the other blocks of a stage are alike
            found = in_timm(model)
            assert found.encoding == ("swin-log-cpb" if name.startswith("swinv2") else "swin-table")
            assert len(found.tables) == sum(len(layer.blocks) for layer in model.layers)
            assert found.tables.keys() <= model.state_dict().keys()
