"""Assignments to parts of a tensor become concatenations with torch's values."""

import pytest
import torch
from torch import Tensor

from export.tracing.program.nodes import count_operators
from tests.export.tracing.program.programs import Function, assert_same, operators

pytestmark = pytest.mark.slow

IMAGE = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(0))
TABLE = torch.randn(12, 8, generator=torch.Generator().manual_seed(1))


def halves_swapped(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :6], y[:, 6:] = x[:, 6:], x[:, :6]
    return y


def all_but_the_class_token(x: Tensor) -> Tensor:
    q, k = (x * 2).unsqueeze(1), (x * 3).unsqueeze(1)  # [B, 1, N, d], the layout of attention heads
    q[:, :, 1:], k[:, :, 1:] = (q * TABLE)[:, :, 1:], (k * TABLE.cos())[:, :, 1:]
    return q + k


def the_middle_of_a_filled_tensor(x: Tensor) -> Tensor:
    y = x.new_full(x.shape, 3.0)
    y[:, 2:5] = x[:, :3]
    y[:, 0] = TABLE[0]
    return y


def windows_of_two_axes(x: Tensor) -> Tensor:
    y = torch.zeros(len(x), 12, 8)
    y[:, 1:5, 2:4] = x[:, 3:7, :2]
    y[:, 4:6] = y[:, 1:3] + 1
    y[..., -1] = x[..., 0]
    return y


def even_and_odd_features(x: Tensor) -> Tensor:
    y = torch.empty_like(x)
    y[..., ::2], y[..., 1::2] = -x[..., 1::2], x[..., ::2]
    return y * TABLE


def read_between_assignments(x: Tensor) -> Tensor:
    y = x * 1
    y[:, :4] = x[:, 4:8] * 2
    first = y[:, 1:3] + y[:, 2:6].mean(1, keepdim=True) + y[:, 3][:, None]
    y[:, 1:3] = 7.0
    return torch.cat([first, y], 1)


def beside_attention_of_heads(x: Tensor) -> Tensor:
    heads = x.view(2, 12, 2, 4).transpose(1, 2)  # [B, H, N, d]
    attended = torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)
    y = attended.transpose(1, 2).contiguous().view(2, 12, 8)  # fused attention returns it contiguous already
    y[:, 0] = 0
    return y


def changed_in_place(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 2:5] += x[:, 5:8]
    y[:, 0].mul_(2)
    y[:, :, 3].zero_()
    return y


def another_type(x: Tensor) -> Tensor:
    y = torch.zeros(len(x), 12, dtype=torch.int64)
    y[:, 3:] = x[:, 3:, 0] * 10
    y[:, :3] = x[:, :3].argmax(-1)
    return y + x[..., 0]


def a_constant_read_before_the_assignment(x: Tensor) -> Tensor:
    before = TABLE * 1
    after = before.clone()
    after[2:4] = x[0, :2]
    return (x * before) @ after.t()


def nothing_assigned(x: Tensor) -> Tensor:
    y = x * 1
    y[:, 5:5] = 0.0
    return y


ASSIGNED: list[Function] = [
    a_constant_read_before_the_assignment,
    all_but_the_class_token,
    another_type,
    beside_attention_of_heads,
    changed_in_place,
    even_and_odd_features,
    halves_swapped,
    nothing_assigned,
    read_between_assignments,
    the_middle_of_a_filled_tensor,
    windows_of_two_axes,
]


@pytest.mark.parametrize("what", ASSIGNED, ids=lambda what: what.__name__)
def test_an_assignment_has_the_values_of_torch_and_becomes_a_concatenation(what: Function) -> None:
    found = operators(assert_same(what, IMAGE))
    assert not {name for name in found if "scatter" in name or "copy_" in name or name.endswith("_")}


def test_a_tensor_assigned_in_full_is_removed() -> None:
    counted = count_operators(assert_same(halves_swapped, IMAGE))
    assert counted == {"slice": 2, "cat": 1}


def test_many_pieces_are_one_lookup() -> None:
    counted = count_operators(assert_same(even_and_odd_features, IMAGE))
    assert counted == {"slice": 2, "neg": 1, "cat": 1, "index_select": 1, "mul": 1}
