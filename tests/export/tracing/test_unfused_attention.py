"""Fused attention becomes plain operators, compared with attention computed query by query."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.tracing.program.nodes import count_operators, operator_of
from export.tracing.torch_export import trace


def plain_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None, *, causal: bool
) -> Tensor:
    """Return softmax(q·kᵀ·s + mask)·v, one query at a time."""
    rows = []
    for query in range(q.shape[-2]):
        scores = (q[..., query : query + 1, :] * k).sum(-1) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if mask is not None:
            row = mask.expand(*scores.shape[:-1], q.shape[-2], k.shape[-2])[..., query, :]
            scores = torch.where(row, scores, -torch.inf) if mask.dtype == torch.bool else scores + row
        if causal:
            scores[..., query + 1 :] = -torch.inf
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        rows.append((weights[..., None] * v).sum(-2))
    return torch.stack(rows, dim=-2)


def tensors(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(shape, generator=generator) for shape in shapes]


class Attention(nn.Module):
    """The fused operator of one input, with keys and values as parameters."""

    def __init__(self, key: Tensor, value: Tensor, mask: Tensor | None, **options: object) -> None:
        super().__init__()
        self.key, self.value = nn.Parameter(key), nn.Parameter(value)
        self.register_buffer("mask", mask)
        self.options = options

    def forward(self, query: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, self.key, self.value, self.mask, **self.options)  # type: ignore[arg-type]


FLOAT_MASK, BOOL_MASK = torch.randn(3, 5, 7), torch.rand(5, 7, generator=torch.Generator().manual_seed(4)) > 0.4
BOOL_MASK[:, 0] = True  # plain_attention gives NaN for a fully masked query
ATTENTIONS: dict[str, tuple[Tensor | None, float | None, bool]] = {
    "without a mask": (None, None, False),
    "with a float mask": (FLOAT_MASK, None, False),
    "with a bool mask": (BOOL_MASK, None, False),
    "causal": (None, None, True),
    "with an explicit scale": (FLOAT_MASK, 0.125, False),
}


@pytest.mark.parametrize("case", ATTENTIONS)
def test_unfused_attention_equals_fused_attention(case: str) -> None:
    mask, scale, causal = ATTENTIONS[case]
    query, key, value = tensors((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 6))
    network = Attention(key, value, mask, scale=scale, is_causal=causal)
    program = trace(network.eval(), query)
    counted = count_operators(program)
    assert counted["scaled_dot_product_attention"] == 0
    assert (counted["matmul"], counted["softmax"]) == (2, 1)
    found = program.module()(query)
    torch.testing.assert_close(found, plain_attention(query, key, value, mask, scale, causal=causal))
    torch.testing.assert_close(found, network(query))
    with pytest.raises(AssertionError):  # the comparison above is able to fail: a forgotten mask, a scale of one
        torch.testing.assert_close(found, plain_attention(query, key, value, None, 1.0, causal=False))


def test_keys_and_values_of_a_group_are_shared_by_its_queries() -> None:
    query, key, value = tensors((2, 6, 5, 8), (2, 2, 7, 8), (2, 2, 7, 8))
    network = Attention(key, value, None, enable_gqa=True)
    repeated = [torch.stack([part[:, head // 3] for head in range(6)], dim=1) for part in (key, value)]
    torch.testing.assert_close(
        trace(network.eval(), query).module()(query),
        plain_attention(query, repeated[0], repeated[1], None, None, causal=False),
    )


def test_the_scale_is_applied_to_the_queries_before_the_product() -> None:
    query, key, value = tensors((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 8))
    program = trace(Attention(key, value, None).eval(), query)
    operators = [operator_of(node) for node in program.graph.nodes if node.op == "call_function"]
    assert operators.index("mul") < operators.index("matmul")
    scaled = next(node for node in program.graph.nodes if operator_of(node) == "mul")
    assert scaled.args[0].op == "placeholder"
    assert scaled.meta["val"].shape == query.shape
