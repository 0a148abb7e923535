"""Operators that are replaced by equal ones, because torch.onnx converts them wrongly or not at all."""

import pytest
import torch
from torch import Tensor

from tests.export.graphs import baked_graph, open_graph, run_graph
from tests.export.tracing.program.programs import Apply, Function, assert_same, operators

IMAGE = torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(0))
TIES = IMAGE.mul(2).round()
INDEX = torch.tensor([3, 0, 5])


def filled(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, INDEX] = 1.5
    return y


def filled_part(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:5][:, [0, -1]] = 0
    return y + x[:, :1]


CASES: dict[str, Function] = {
    "index_fill": lambda x: x.index_fill(2, INDEX, 3.0),
    "index_fill from the end": lambda x: x.index_fill(-1, torch.tensor([-1, 2]), torch.tensor(3.0)),
    "assignment to rows": filled,
    "assignment to rows of a part": filled_part,
    "hstack": lambda x: torch.hstack([x, 2 * x]),
    "vstack": lambda x: torch.vstack([x[0], 2 * x[1]]),
    "dstack": lambda x: torch.dstack([x, 2 * x]),
    "column_stack": lambda x: torch.column_stack([x, 2 * x]),
    "mean": lambda x: x.scatter_reduce(1, x.argmax(1, keepdim=True).expand(-1, 3, -1, -1), x[:, 3:], "mean"),
    "mean without the target": lambda x: x.scatter_reduce(
        1, x.argsort(1)[:, :3] // 2, x[:, 3:], "mean", include_self=False
    ),
}
REPLACED = {"column_stack", "dstack", "hstack", "index_fill", "index_fill_", "scatter_reduce", "vstack"}


@pytest.mark.parametrize("case", CASES)
def test_an_operator_becomes_equal_ones(case: str) -> None:
    assert not REPLACED & operators(assert_same(CASES[case], IMAGE))


@pytest.mark.parametrize("descending", [False, True])
def test_equal_numbers_keep_their_order_in_a_stable_sort(descending: bool) -> None:
    def what(x: Tensor) -> Tensor:
        values, places = x.flatten(1).sort(stable=True, descending=descending)
        return values + places + x.flatten(1).argsort(stable=True, descending=descending)

    session = open_graph(baked_graph(Apply(what).eval(), (8, 8)))
    images = TIES[:, :3].contiguous()
    torch.testing.assert_close(run_graph(session, images), what(images), rtol=0, atol=0)


def test_the_largest_numbers_are_ordered() -> None:
    program = assert_same(lambda x: x.topk(3, 1, sorted=False).values.sum(1), IMAGE)
    assert [node.args[4] for node in program.graph.nodes if "topk" in str(node.target)] == [True]
