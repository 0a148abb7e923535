"""Masked attention: torch's values, also for fully masked queries, and no extra operators for the others."""

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
ALLOWED = torch.rand(6, 6, generator=torch.Generator().manual_seed(2)) > 0.3
ALLOWED[:, 1] = True
SOME_FULLY_MASKED = ALLOWED.clone()
SOME_FULLY_MASKED[2] = SOME_FULLY_MASKED[5] = False


def infinite(allowed: Tensor) -> Tensor:
    return torch.where(allowed, BIAS, -torch.inf)


def attention(x: Tensor, mask: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, x.sin(), x, attn_mask=mask)


def by_image(x: Tensor) -> Tensor:
    return (x[..., :1] > 0) & (x[..., 0] > -0.5)[..., None, :]  # a query whose first number is below 0 is fully masked


FULLY_MASKED: dict[str, Function] = {
    "a constant mask": lambda x: attention(x, SOME_FULLY_MASKED),
    "a constant mask of −∞": lambda x: attention(x, infinite(SOME_FULLY_MASKED)),
    "a mask of padded queries": lambda x: attention(x, SOME_FULLY_MASKED.any(-1, keepdim=True)),
    "a mask of the image": lambda x: attention(x, by_image(x)),
    "a mask of the image, of −∞": lambda x: attention(x, torch.zeros(6, 6).masked_fill(~by_image(x), -torch.inf)),
    "a bias of the image and a constant mask": lambda x: attention(x, x.mean() + infinite(SOME_FULLY_MASKED)),
    "the logarithm of weights of the image": lambda x: attention(x, by_image(x).float().log()),
}


@pytest.mark.parametrize("case", FULLY_MASKED)
def test_a_fully_masked_query_gets_zeros_as_in_torch(case: str) -> None:
    expected = FULLY_MASKED[case](IMAGE)
    assert expected.isfinite().all()
    assert (expected == 0).all(-1).any()
    assert_same(FULLY_MASKED[case], IMAGE)


ORDINARY: dict[str, tuple[Function, dict[str, int]]] = {
    "a constant mask": (lambda x: attention(x, ALLOWED), {"masked_fill": 1}),
    "a constant mask of −∞": (lambda x: attention(x, infinite(ALLOWED)), {"add": 1}),
    "a causal mask": (lambda x: F.scaled_dot_product_attention(x, x.sin(), x, is_causal=True), {"masked_fill": 1}),
    "a bias of the image": (lambda x: attention(x, BIAS * x.mean()), {"mean": 1, "add": 1, "mul": 2}),
}


@pytest.mark.parametrize("case", ORDINARY)
def test_keep_plain_attention_if_no_query_is_fully_masked(case: str) -> None:
    what, more = ORDINARY[case]
    counted = count_operators(assert_same(what, IMAGE))
    assert counted == {"sin": 1, "transpose": 1, "mul": 1, "matmul": 2, "softmax": 1} | more


def test_zeros_for_a_constant_mask_need_one_more_operator() -> None:
    ordinary, fully_masked = (
        count_operators(evaluated(partial(attention, mask=mask), IMAGE)) for mask in (ALLOWED, SOME_FULLY_MASKED)
    )
    assert fully_masked - ordinary == {"masked_fill": 1}


# flex_attention


def twice(score: Tensor, _image: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return score * 2 + (head + 1) * (query - key).abs() / 5


def allowed(_image: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return (query >= key) & (query != 3)  # query 3 is fully masked


def flexible(x: Tensor) -> Tensor:
    heads = torch.cat([x, x.cos(), x * 2, x - 1], 1)
    mask = create_block_mask(allowed, None, None, 6, 6, device="cpu", BLOCK_SIZE=6)
    result: Tensor = flex_attention(heads, heads[:, :2], heads[:, 1:3], twice, mask, scale=0.3, enable_gqa=True)
    return result


@pytest.mark.slow
def test_flex_attention_becomes_plain_attention_with_constant_scores_and_masks() -> None:
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
