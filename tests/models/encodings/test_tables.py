"""Tables over offsets (Swin v1, BEiT), compared with loops over pairs of tokens."""

import torch
from torch import Tensor

from models.encodings import Place
from tests.models.encodings.oracle import (
    Expected,
    assert_differs,
    assert_returns,
    filled,
    image,
    no_bias,
    on_every_place,
    pairs,
)

NAMES = ["beit-table", "swin-table"]


def slow_table(place: Place, table: Tensor, *, cls_rows: bool) -> Tensor:
    """Return the bias [H, N, N]; BEiT's last three rows are for extra → grid, grid → extra, extra → extra."""
    rows, columns = place.grid
    offsets = [(dy, dx) for dy in range(1 - rows, rows) for dx in range(1 - columns, columns)]
    assert table.shape == (len(offsets) + (3 if cls_rows else 0), place.num_heads)
    bias = no_bias(place)
    for i, j, offset in pairs(place):
        if offset is not None:
            bias[:, i, j] = table[offsets.index(offset)]
        elif cls_rows:
            extra_query, extra_key = i < place.extra_tokens, j < place.extra_tokens
            bias[:, i, j] = table[-1 if extra_query and extra_key else -3 if extra_query else -2]
    return bias


@on_every_place
def test_swin_table_looks_up_each_pairs_offset_and_gives_extra_tokens_zero(place: Place) -> None:
    encoding = filled("swin-table", place)
    expected = slow_table(place, encoding.get_parameter("table"), cls_rows=False)
    assert_returns(encoding, image(place), Expected(bias=expected))
    assert_differs(encoding, image(place), Expected(bias=expected.mT))


@on_every_place
def test_beit_table_has_three_more_rows_for_extra_tokens(place: Place) -> None:
    encoding = filled("beit-table", place)
    table = encoding.get_parameter("table")
    expected = slow_table(place, table, cls_rows=True)
    assert_returns(encoding, image(place), Expected(bias=expected))
    assert_differs(encoding, image(place), Expected(bias=expected.mT))
    if place.extra_tokens:
        swapped = torch.cat([table[:-3], table[[-2, -3, -1]]])
        assert_differs(encoding, image(place), Expected(bias=slow_table(place, swapped, cls_rows=True)))
