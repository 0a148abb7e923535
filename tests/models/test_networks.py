"""ViT and Swin, compared with timm's of the same weights, and Swin's windows, compared with plain loops."""

import itertools

import pytest
import timm
import torch
from torch import Tensor, nn

from models import Swin, SwinConfig, ViT, ViTConfig
from models.sources.own import randomise
from models.swin import shifted_window_mask, window_partition, window_reverse
from tests.models.networks import SWIN, VIT_CLS, VIT_MEAN, position_effect


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network.double().eval()(images.double())
    return logits


def renamed(state: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    result = {}
    for key, tensor in state.items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        result[key] = tensor
    return result


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
@pytest.mark.parametrize("config", [VIT_CLS, VIT_MEAN], ids=["cls", "mean"])
def test_the_vit_has_timms_logits(config: ViTConfig, batch: int) -> None:
    config = config.model_copy(update={"encodings": {"learned": {}}})
    ours = ViT(config)
    randomise(ours, seed=1)
    theirs = timm.models.VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.num_heads,
        num_classes=config.num_classes,
        class_token=config.pool == "cls",
        global_pool="token" if config.pool == "cls" else "avg",
        fc_norm=False,
    )
    theirs.load_state_dict(renamed(ours.state_dict(), {"attention.": "attn.", "position.table": "pos_embed"}))
    images = torch.randn(batch, 3, *config.image_size)
    torch.testing.assert_close(logits_of(ours, images), logits_of(theirs, images), rtol=0, atol=1e-10)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_the_swin_has_timms_logits(batch: int) -> None:
    ours = Swin(SWIN)
    randomise(ours, seed=1)
    theirs = timm.models.SwinTransformer(
        img_size=SWIN.image_size,
        patch_size=SWIN.patch_size,
        embed_dim=SWIN.width,
        depths=SWIN.depths,
        num_heads=SWIN.num_heads,
        window_size=SWIN.window_of(0),
        num_classes=SWIN.num_classes,
    )
    for module in theirs.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = SWIN.layer_norm_eps
    names = {
        "attention.encoding.table": "attn.relative_position_bias_table",
        "attention.": "attn.",
        "stages.": "layers.",
        "merge.": "downsample.",
        "embed_norm.": "patch_embed.norm.",
        "head.": "head.fc.",
    }
    theirs.load_state_dict(renamed(ours.state_dict(), names))
    images = torch.randn(batch, 3, *SWIN.image_size)
    torch.testing.assert_close(logits_of(ours, images), logits_of(theirs, images), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["learned", "sincos", "swin-table", "irpe-product-contextual-k"])
def test_position_affects_the_logits(name: str) -> None:
    network = ViT(VIT_MEAN.model_copy(update={"encodings": {name: {}}}))
    randomise(network, seed=2)
    assert position_effect(network) > 1e-3  # a hundred times the tolerance of an export


def test_a_vit_without_an_encoding_ignores_the_order_of_patches() -> None:
    network = ViT(VIT_MEAN.model_copy(update={"encodings": {}}))
    randomise(network, seed=2)
    assert position_effect(network) < 1e-9


def test_window_partition_cuts_in_raster_order() -> None:
    grid, window = (4, 6), (2, 3)
    x = torch.arange(2 * 24).view(2, *grid, 1)
    expected = [
        [int(x[image, top + row, left + column, 0]) for row, column in itertools.product(range(2), range(3))]
        for image, top, left in itertools.product(range(2), (0, 2), (0, 3))
    ]
    windows = window_partition(x, window)
    assert windows[..., 0].tolist() == expected
    assert torch.equal(window_reverse(windows, window, grid), x)


@pytest.mark.parametrize(
    ("grid", "window", "shift"), [((4, 4), (2, 2), (1, 1)), ((6, 9), (3, 3), (1, 1)), ((2, 8), (2, 4), (0, 2))]
)
def test_the_mask_separates_tokens_that_are_adjacent_only_after_the_roll(
    grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]
) -> None:
    raster = list(itertools.product(range(grid[0]), range(grid[1])))
    rolled = {
        ((row - shift[0]) % grid[0], (column - shift[1]) % grid[1]): (row, column) for row, column in raster
    }  # position of each token after the roll
    mask = shifted_window_mask(grid, window, shift)
    tops, lefts = range(0, grid[0], window[0]), range(0, grid[1], window[1])
    for number, (top, left) in enumerate(itertools.product(tops, lefts)):
        spots = [rolled[top + row, left + column] for row, column in itertools.product(*map(range, window))]
        for (i, a), (j, b) in itertools.product(enumerate(spots), repeat=2):
            near = all(abs(a[axis] - b[axis]) < window[axis] for axis in (0, 1))
            assert mask[number, i, j] == (0 if near else -100.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": (30, 32)}, "not a multiple of the patch size 4"),
        ({"image_size": (36, 32)}, "multiple of 32"),
        ({"window_size": 5}, "window size 5 does not divide the 8×16 grid of stage 0"),
        ({"window_size": (4, 3)}, "window size 3 does not divide the 4×8 grid of stage 1"),
        ({"window_size": (4, 2, 1)}, "window_size has 3 stages, depths 2"),
        ({"stage_options": ({},)}, "stage_options has 1 stages, depths 2"),
        ({"depths": (2,)}, "same number of stages"),
        ({"num_heads": (5, 4)}, "5 heads do not divide"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_a_remedy(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Swin(SwinConfig.model_validate(SWIN.model_dump() | changes))


def test_a_window_that_covers_a_stage_is_neither_shifted_nor_masked() -> None:
    network = Swin(SWIN.model_copy(update={"image_size": (16, 16)}))  # second stage: 2×2 tokens
    masks = [name for name, buffer in network.named_buffers() if name.endswith("mask") and buffer is not None]
    assert masks == []
    assert network.eval()(torch.zeros(1, 3, 16, 16)).shape == (1, 10)
