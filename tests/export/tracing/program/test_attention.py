"""Masked attention: torch's own values, also for a query that may look nowhere, and no work where there is none."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from export.tracing.program.nodes import count_operators
from tests.export.tracing.program.programs import Function, assert_same, evaluated

IMAGE = torch.randn(2, 1, 6, 8, generator=torch.Generator().manual_seed(0))
BIAS = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
SEEN = torch.rand(6, 6, generator=torch.Generator().manual_seed(2)) > 0.3
SEEN[:, 1] = True
SOME_NOWHERE = SEEN.clone()
SOME_NOWHERE[2] = SOME_NOWHERE[5] = False


def infinite(seen: Tensor) -> Tensor:
    return torch.where(seen, BIAS, -torch.inf)


def attention(x: Tensor, mask: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, x.sin(), x, attn_mask=mask)


def by_image(x: Tensor) -> Tensor:
    return (x[..., :1] > 0) & (x[..., 0] > -0.5)[..., None, :]  # a query whose first number is below 0 looks nowhere


NOWHERE: dict[str, Function] = {
    "a constant mask": lambda x: attention(x, SOME_NOWHERE),
    "a constant mask of −∞": lambda x: attention(x, infinite(SOME_NOWHERE)),
    "a mask of padded queries": lambda x: attention(x, SOME_NOWHERE.any(-1, keepdim=True)),
    "a mask of the image": lambda x: attention(x, by_image(x)),
    "a mask of the image, of −∞": lambda x: attention(x, torch.zeros(6, 6).masked_fill(~by_image(x), -torch.inf)),
    "a bias of the image and a constant mask": lambda x: attention(x, x.mean() + infinite(SOME_NOWHERE)),
    "the logarithm of weights of the image": lambda x: attention(x, by_image(x).float().log()),
}


@pytest.mark.parametrize("case", NOWHERE)
def test_a_query_that_may_look_nowhere_gets_zeros_as_in_torch(case: str) -> None:
    expected = NOWHERE[case](IMAGE)
    assert expected.isfinite().all()
    assert (expected == 0).all(-1).any()
    assert_same(NOWHERE[case], IMAGE)


ORDINARY: dict[str, tuple[Function, dict[str, int]]] = {
    "a constant mask": (lambda x: attention(x, SEEN), {"masked_fill": 1}),
    "a constant mask of −∞": (lambda x: attention(x, infinite(SEEN)), {"add": 1}),
    "a causal mask": (lambda x: F.scaled_dot_product_attention(x, x.sin(), x, is_causal=True), {"masked_fill": 1}),
    "a bias of the image": (lambda x: attention(x, BIAS * x.mean()), {"mean": 1, "add": 1, "mul": 2}),
}


@pytest.mark.parametrize("case", ORDINARY)
def test_keep_plain_attention_where_every_query_looks_somewhere(case: str) -> None:
    what, more = ORDINARY[case]
    counted = count_operators(assert_same(what, IMAGE))
    assert counted == {"sin": 1, "transpose": 1, "mul": 1, "matmul": 2, "softmax": 1} | more


def test_zeros_of_a_constant_mask_are_one_more_operator() -> None:
    ordinary, nowhere = (
        count_operators(evaluated(partial(attention, mask=mask), IMAGE)) for mask in (SEEN, SOME_NOWHERE)
    )
    assert nowhere - ordinary == {"masked_fill": 1}


# flex_attention


def twice(score: Tensor, _image: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return score * 2 + (head + 1) * (query - key).abs() / 5


def seen(_image: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return (query >= key) & (query != 3)  # one that looks nowhere, too


def flexible(x: Tensor) -> Tensor:
    heads = torch.cat([x, x.cos(), x * 2, x - 1], 1)
    mask = create_block_mask(seen, None, None, 6, 6, device="cpu", BLOCK_SIZE=6)
    result: Tensor = flex_attention(heads, heads[:, :2], heads[:, 1:3], twice, mask, scale=0.3, enable_gqa=True)
    return result


@pytest.mark.slow
def test_flexible_attention_is_plain_attention_with_its_functions_at_all_positions() -> None:
    counted = count_operators(assert_same(flexible, IMAGE))
    assert counted["matmul"] == 2
    assert "flex_attention" not in counted
    rows = flexible(IMAGE)
    keys, values = (
        torch.cat([IMAGE, IMAGE.cos(), IMAGE * 2, IMAGE - 1], 1)[:, part] for part in (slice(2), slice(1, 3))
    )
    query = torch.cat([IMAGE, IMAGE.cos(), IMAGE * 2, IMAGE - 1], 1)[1, 2, 4]  # the first of the second pair of heads
    scores = (keys[1, 1, :5] @ query) * 0.3 * 2 + 3 * torch.arange(4, -1, -1) / 5
    torch.testing.assert_close(rows[1, 2, 4], scores.softmax(0) @ values[1, 1, :5])
    assert not rows[:, :, 3].any()
