"""Every encoding against a slow oracle: plain loops over tokens and pairs of tokens."""

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from models.encodings import ENCODINGS, Encoding, Place, build_encoding
from models.encodings.irpe import IRPEProductContextualK
from models.encodings.learned import Learned
from models.encodings.sincos import SinCos
from models.encodings.swin_table import SwinTable
from tests.models.test_offsets import slow_piecewise

GRIDS = [(4, 4), (3, 5), (1, 6)]
EXTRA = [0, 1, 2]
WIDTH, HEADS = 24, 3


def fill(encoding: Encoding, seed: int = 0) -> None:
    """Fresh tables are zero or tiny: a comparison of them would prove nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


def place(grid: tuple[int, int], extra_tokens: int = 0) -> Place:
    return Place(grid, extra_tokens, WIDTH, HEADS)


def tokens(at: Place) -> Iterator[tuple[int, tuple[int, int] | None]]:
    """Yield each token's number, and its row and column if it has them."""
    spots = [None] * at.extra_tokens + list(itertools.product(range(at.grid[0]), range(at.grid[1])))
    return iter(enumerate(spots))


@pytest.mark.parametrize("extra", EXTRA)
@pytest.mark.parametrize("grid", GRIDS)
def test_sincos_is_the_formula(grid: tuple[int, int], extra: int) -> None:
    at = place(grid, extra)
    expected = torch.zeros(at.num_tokens, WIDTH, dtype=torch.float64)
    quarter = WIDTH // 4
    for number, spot in tokens(at):
        if spot is None:
            continue
        for f in range(quarter):
            omega = 10_000 ** (-f / quarter)
            waves = [
                math.sin(spot[0] * omega),
                math.cos(spot[0] * omega),
                math.sin(spot[1] * omega),
                math.cos(spot[1] * omega),
            ]
            for part, wave in enumerate(waves):
                expected[number, part * quarter + f] = wave
    torch.testing.assert_close(SinCos(at).embedding(), expected.float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("extra", EXTRA)
@pytest.mark.parametrize("grid", GRIDS)
def test_learned_has_a_row_for_every_token(grid: tuple[int, int], extra: int) -> None:
    encoding = Learned(place(grid, extra))
    fill(encoding)
    embedding = encoding.embedding()
    assert embedding.shape == (extra + grid[0] * grid[1], WIDTH)
    assert torch.equal(embedding, encoding.table[0])


@pytest.mark.parametrize("grid", GRIDS)
def test_swin_table_looks_up_each_pairs_offset(grid: tuple[int, int]) -> None:
    at = place(grid)
    encoding = SwinTable(at)
    fill(encoding)
    rows, columns = grid
    expected = torch.empty(HEADS, at.num_tokens, at.num_tokens)
    for i, query in tokens(at):
        for j, key in tokens(at):
            assert query is not None
            assert key is not None
            row = (query[0] - key[0] + rows - 1) * (2 * columns - 1) + query[1] - key[1] + columns - 1
            expected[:, i, j] = encoding.table[row]
    assert encoding.table.shape == ((2 * rows - 1) * (2 * columns - 1), HEADS)
    assert torch.equal(encoding.bias(), expected)
    with pytest.raises(AssertionError):  # the comparison above is able to fail
        assert torch.equal(encoding.bias().transpose(1, 2), expected)


def test_swin_table_has_no_place_for_extra_tokens() -> None:
    with pytest.raises(ValueError, match="CLS"):
        SwinTable(place((4, 4), extra_tokens=1))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("extra", EXTRA)
@pytest.mark.parametrize("grid", GRIDS)
def test_irpe_product_contextual_k_multiplies_each_query_with_its_pairs_vector(
    grid: tuple[int, int], extra: int, shared: bool
) -> None:
    ratio = 1.0  # three buckets each way and a bit: grids of six reach the logarithmic part
    at = place(grid, extra)
    encoding = IRPEProductContextualK(at, ratio, shared)
    fill(encoding)
    q, k = torch.randn(2, 2, HEADS, at.num_tokens, at.head_dim).unbind()
    side = int(2 * ratio)
    on_grid = (2 * side + 1) ** 2
    assert encoding.table.shape == (1 if shared else HEADS, at.head_dim, on_grid + (extra > 0))
    expected = torch.empty(2, HEADS, at.num_tokens, at.num_tokens)
    for (i, query), (j, key) in itertools.product(tokens(at), tokens(at)):
        if query is None or key is None:
            bucket = on_grid
        else:
            dy, dx = (
                slow_piecewise(a - b, ratio, 2 * ratio, 8 * ratio) + side for a, b in zip(query, key, strict=True)
            )
            bucket = dy * (2 * side + 1) + dx
        for head in range(HEADS):
            vector = encoding.table[0 if shared else head, :, bucket]
            expected[:, head, i, j] = q[:, head, i] @ vector
    torch.testing.assert_close(encoding.scores(q, k), expected, rtol=0, atol=1e-5)
    if extra == 0:
        with pytest.raises(AssertionError):  # the comparison above is able to fail
            torch.testing.assert_close(encoding.scores(q, k).transpose(2, 3), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", sorted(ENCODINGS))
def test_an_encoding_acts_where_it_says_and_nowhere_else(name: str) -> None:
    at = place((4, 4))
    encoding = ENCODINGS[name](at)
    fill(encoding)
    q, k = torch.randn(2, 1, HEADS, at.num_tokens, at.head_dim).unbind()
    acts: dict[str, list[Tensor | None]] = {
        "tokens": [encoding.embedding()],
        "scores": [encoding.bias(), encoding.scores(q, k)],
    }
    for where, terms in acts.items():
        there = [term for term in terms if term is not None]
        assert len(there) == (1 if encoding.acts_on == where else 0)
        assert all(bool(term.any()) for term in there)


@pytest.mark.parametrize("name", sorted(ENCODINGS))
def test_a_state_dict_holds_only_what_was_learned(name: str) -> None:
    encoding = ENCODINGS[name](place((4, 4)))
    assert set(encoding.state_dict()) == {key for key, _ in encoding.named_parameters()}


def test_a_place_without_its_encoding_gets_none() -> None:
    names = {"learned": {}, "irpe-product-contextual-k": {"ratio": 2.0}}
    assert isinstance(build_encoding(names, place((4, 4), 1), "tokens"), Learned)
    assert isinstance(build_encoding(names, place((4, 4), 1), "scores"), IRPEProductContextualK)
    assert build_encoding({"learned": {}}, place((4, 4)), "scores").acts_on == "nothing"


def test_what_cannot_be_built_says_what_can() -> None:
    at = place((4, 4))
    with pytest.raises(ValueError, match=r"unknown encoding 'swin'; known: .*swin-table"):
        build_encoding({"swin": {}}, at, "scores")
    with pytest.raises(ValueError, match="no option radius; it has ratio, shared"):
        build_encoding({"irpe-product-contextual-k": {"radius": 2}}, at, "scores")
    with pytest.raises(ValueError, match="learned and sincos both act on the tokens"):
        build_encoding({"learned": {}, "sincos": {}}, at, "tokens")
    with pytest.raises(ValueError, match="multiple of 4"):
        SinCos(Place((4, 4), 0, 30, 3))
    with pytest.raises(ValueError, match="at least one row"):
        Place((0, 4), 0, 24, 3)
    with pytest.raises(ValueError, match="ratio must be at least"):
        IRPEProductContextualK(at, ratio=0.1)
