"""Attention with encodings, masks and scales, compared with a loop over images, heads and queries."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from models.attention import Attention
from models.encodings import Place, build_encoding
from models.sources.own import randomise

PLACE = Place((2, 3), 1, width=24, num_heads=3)
ENCODINGS = ["none", "beit-table", "rope-mixed", "irpe-product-contextual-qkv", "shaw-kv"]
TOLERANCE = 1e-10  # float64 on both sides
WINDOWS = 2


def attention_of(name: str, *, cosine: bool) -> Attention:
    encoding = build_encoding({name: {}}, PLACE, "attention")
    attention = Attention(PLACE.width, PLACE.num_heads, encoding, cosine=cosine)
    randomise(attention, seed=4)
    return attention.double().requires_grad_(requires_grad=False)


def slow_attention(attention: Attention, x: Tensor, mask: Tensor | None) -> Tensor:
    """Return [B, N, C]; image b uses the mask of window b % W."""
    encoding, d = attention.encoding, PLACE.head_dim
    q, k, v = (
        torch.stack([part[..., head * d : (head + 1) * d] for head in range(PLACE.num_heads)], dim=1)
        for part in attention.qkv(x).split(PLACE.width, dim=-1)
    )  # each [B, H, N, d]
    if attention.logit_scale is None:
        q = q / math.sqrt(d)
    else:
        scale = attention.logit_scale.clamp(max=math.log(100)).exp()
        q, k = scale * q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True)
    rotation, bias = encoding.rotation(), encoding.bias()
    if rotation is not None:
        q, k = rotation.turn(q), rotation.turn(k)
    dependent = encoding.scores(q, k)
    weights = torch.empty(len(x), PLACE.num_heads, PLACE.num_tokens, PLACE.num_tokens, dtype=x.dtype)
    for b, h, i in itertools.product(range(len(x)), range(PLACE.num_heads), range(PLACE.num_tokens)):
        scores = [q[b, h, i] @ k[b, h, j] for j in range(PLACE.num_tokens)]
        for j in range(PLACE.num_tokens):
            scores[j] = scores[j] + (0 if bias is None else bias[h, i, j])
            scores[j] = scores[j] + (0 if dependent is None else dependent[b, h, i, j])
            scores[j] = scores[j] + (0 if mask is None else mask[b % len(mask), i, j])
        shares = [math.exp(score) for score in scores]
        weights[b, h, i] = torch.tensor([share / sum(shares) for share in shares], dtype=x.dtype)
    out = torch.zeros_like(v)
    for b, h, i, j in itertools.product(*(range(side) for side in weights.shape)):
        out[b, h, i] += weights[b, h, i, j] * v[b, h, j]
    values = encoding.values(weights)
    if values is not None:
        out = out + values
    joined: Tensor = attention.proj(torch.cat([out[:, head] for head in range(PLACE.num_heads)], dim=-1))
    return joined


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("name", ENCODINGS)
def test_attention_matches_its_formula(name: str, cosine: bool, masked: bool) -> None:
    attention = attention_of(name, cosine=cosine)
    x = torch.randn(2 * WINDOWS, PLACE.num_tokens, PLACE.width, dtype=torch.float64)
    mask = -4 * torch.rand(WINDOWS, PLACE.num_tokens, PLACE.num_tokens, dtype=torch.float64) if masked else None
    expected = slow_attention(attention, x, mask)
    torch.testing.assert_close(attention(x, mask), expected, rtol=0, atol=TOLERANCE)
    if mask is not None:
        with pytest.raises(AssertionError):  # the comparison above is able to fail
            torch.testing.assert_close(attention(x, mask.flip(0)), expected, rtol=0, atol=TOLERANCE)


def test_the_learned_scale_is_at_most_a_hundred() -> None:
    attention = attention_of("none", cosine=True)
    assert attention.logit_scale is not None
    attention.logit_scale.copy_(torch.tensor([0.0, 1.0, 9.0]).view(3, 1, 1))
    scale = attention.logit_scale_limited()
    assert scale is not None
    assert scale.flatten().tolist() == pytest.approx([1.0, math.e, 100.0])
    assert attention_of("none", cosine=False).logit_scale_limited() is None


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="5 heads do not divide the width 24"):
        Attention(24, 5, build_encoding({}, PLACE, "attention"))
