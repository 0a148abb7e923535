"""This project's own networks at other sizes than those of training."""

from typing import Any

import pytest
import torch
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table, resize_rel_pos_bias_table_simple

from models import SwinConfig, ViTConfig, build_network
from models.encodings import Encoding
from models.sources import Overrides, SourceError
from models.sources.own import config_at, positions_of, randomise
from models.sources.positions import bring
from tests.models.networks import SWIN, VIT_CLS


def resized(config: ViTConfig | SwinConfig, **sizes: Any) -> tuple[Any, Any, tuple[str, ...]]:  # noqa: ANN401
    """Return a network, its copy at other sizes, and the notes on its tables."""
    trained = build_network(config).eval()
    randomise(trained, seed=3)
    wanted = config_at(config, Overrides(**sizes))
    state, changes = bring(trained.state_dict(), positions_of(config), positions_of(wanted))
    network = build_network(wanted).eval()
    network.load_state_dict(state)
    return trained, network, tuple(changes)


def test_tables_of_windows_are_resampled_bicubically() -> None:
    trained, network, sentences = resized(SWIN, image_size=(48, 96), window_size=6)
    key = "stages.0.blocks.1.attention.encoding.table"
    expected = resize_rel_pos_bias_table_simple(trained.get_parameter(key), (6, 6), (11 * 11, 2))
    torch.testing.assert_close(network.get_parameter(key), expected, rtol=0, atol=1e-6)
    assert sentences == ("relative position tables of stage 0, 1 from 4×4 to 6×6 windows, bicubic",)
    assert network(torch.randn(2, 3, 48, 96)).shape == (2, 10)


def test_an_mlp_over_offsets_keeps_the_units_of_training() -> None:
    config = SWIN.model_copy(update={"version": 2, "encodings": {"swin-log-cpb": {}}})
    trained, network, sentences = resized(config, image_size=(64, 128), window_size=8)
    small, large = (net.stages[0].blocks[0].attention.encoding for net in (trained, network))
    with torch.no_grad():
        before, after = (encoding.bias().reshape(2, *[side] * 4) for encoding, side in ((small, 4), (large, 8)))
    torch.testing.assert_close(after[:, :4, :4, :4, :4], before)  # the same offsets, the same bias
    assert sentences == (
        "relative position bias of stage 0, 1 from 4×4 to 8×8 windows, recomputed from the windows of training",
    )


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning")  # both in timm's interpolation of tables
def test_relative_tables_over_an_image_are_resampled_as_beits_authors_do() -> None:
    config = VIT_CLS.model_copy(update={"encodings": {"learned": {}, "beit-table": {}}})
    trained, network, sentences = resized(config, image_size=(64, 40))
    key = "blocks.1.attention.encoding.table"
    expected = resize_rel_pos_bias_table(trained.get_parameter(key), (8, 5), (15 * 9 + 3, 3), (4, 6))
    torch.testing.assert_close(network.get_parameter(key), expected, rtol=0, atol=1e-5)
    assert sentences == (
        "position embedding from 4×6 to 8×5 tokens, bicubic with antialiasing",
        "relative position tables from 4×6 to 8×5 tokens, linear on geometrically spaced offsets",
    )


def test_the_embedding_of_a_swin_is_resampled_too() -> None:
    config = SWIN.model_copy(update={"encodings": {"learned": {}, "swin-table": {}}})
    _, network, sentences = resized(config, image_size=(64, 64))
    assert network.get_parameter("position.table").shape[-2] == 16 * 16
    assert sentences == ("position embedding from 8×16 to 16×16 tokens, bicubic with antialiasing",)


@pytest.mark.parametrize("name", ["relpos-mlp", "rope-mixed", "irpe-product-contextual-k", "shaw-k"])
def test_encodings_computed_from_the_grid_are_not_resampled(name: str) -> None:
    trained, network, sentences = resized(VIT_CLS.model_copy(update={"encodings": {name: {}}}), image_size=(64, 48))
    assert sentences == ()
    weights = network.state_dict()
    assert all(torch.equal(tensor, weights[key]) for key, tensor in trained.state_dict().items())
    assert any(isinstance(module, Encoding) for module in network.modules())


def test_the_same_size_changes_nothing() -> None:
    trained, network, sentences = resized(SWIN, image_size=SWIN.image_size, window_size=4)
    assert sentences == ()
    assert all(torch.equal(tensor, network.state_dict()[key]) for key, tensor in trained.state_dict().items())


def test_invalid_sizes_are_refused() -> None:
    with pytest.raises(SourceError, match="no windows"):
        config_at(VIT_CLS, Overrides(window_size=7))
    with pytest.raises(SourceError, match="not a multiple of the patch size 8"):
        config_at(VIT_CLS, Overrides(image_size=(36, 48)))
