"""Programs that torch.onnx need not trace again, and those that it must."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import ExportedProgram
from torch.onnx._internal.exporter._registration import ONNXRegistry

from export.tracing.evaluation import EvaluatedProgram
from export.tracing.program.core import CONVERTED, use_converted_operators
from tests.export.graphs import baked_graph, open_graph, run_graph
from tests.export.tracing.program.programs import Function, evaluated, inside, operators

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
WEIGHT, BIAS, MEAN = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))


def pooled(function: Function) -> Function:
    """Return a function whose result is summed to logits [B, 3], with different weights of all positions."""
    return lambda x: (function(x) * torch.linspace(0.5, 1, 64).view(8, 8)).sum((2, 3))


def added_in_place(x: Tensor) -> Tensor:
    made = x * 2
    made += x
    return made


def norm(x: Tensor, training: bool) -> Tensor:
    return F.batch_norm(x, MEAN, WEIGHT.abs(), WEIGHT, BIAS, training, eps=1e-3)


def overwritten_view(x: Tensor) -> Tensor:
    made = x * 2
    made[:, 1].relu_()
    return made


WITHOUT_A_TRACE: dict[str, Function] = {
    "converted operators": lambda x: torch.softmax(F.gelu(x), -1).roll(1, 2),
    "batch norm": lambda x: norm(x, training=False),
    "activation in place": lambda x: F.silu(norm(x, training=False), inplace=True),
    "several in place": lambda x: F.relu(added_in_place(x), inplace=True),
    "another dtype": lambda x: (x.to(torch.float64) * 3).to(torch.float32),
    "an overwritten view": overwritten_view,
    "reversed axes": lambda x: x.flatten(1).T.softmax(0).T.view(x.shape),
    "shape of another": lambda x: x.flatten(2).softmax(-1).reshape_as(x),
}


def read_before_and_after(x: Tensor) -> Tensor:
    made = x * 2
    return made.exp() + made.relu_() + made


def view_of_overwritten(x: Tensor) -> Tensor:
    made = x * 2
    view = made.transpose(2, 3)
    made.relu_()
    return view


def overwritten_alias(x: Tensor) -> Tensor:
    made = x * 2
    made.to(torch.float32).relu_()  # no copy, because the dtype is the same
    return made


def added_in_lower_precision(x: Tensor) -> Tensor:
    made = x * 2
    made += x.to(torch.float64)
    return made / 3


TRACED_AGAIN: dict[str, Function] = {
    "an operator that is not converted": torch.square,
    "batch norm with statistics of the batch": lambda x: norm(x, training=True),
    "a result that is read before and after": read_before_and_after,
    "a view of an overwritten result": view_of_overwritten,
    "an overwritten alias": overwritten_alias,
    "an addition in place of another dtype": added_in_lower_precision,
    "an operator in place that is not converted": lambda x: (x * 2).square_(),
}


@pytest.mark.parametrize("case", WITHOUT_A_TRACE)
def test_converted_operators_are_used_without_another_trace(case: str) -> None:
    assert use_converted_operators(evaluated(pooled(WITHOUT_A_TRACE[case]), IMAGES).graph)


@pytest.mark.parametrize("case", TRACED_AGAIN)
def test_other_programs_are_traced_again(case: str) -> None:
    assert not use_converted_operators(evaluated(pooled(TRACED_AGAIN[case]), IMAGES).graph)


def test_an_alias_that_is_overwritten_is_not_copied_before() -> None:
    program = evaluated(pooled(overwritten_alias), IMAGES)
    use_converted_operators(program.graph)
    assert {"to", "relu_"} <= operators(program)


@pytest.mark.parametrize("case", [case for case in WITHOUT_A_TRACE | TRACED_AGAIN if "statistics" not in case])
def test_the_graph_computes_the_function(case: str) -> None:
    function = pooled((WITHOUT_A_TRACE | TRACED_AGAIN)[case])
    session = open_graph(baked_graph(inside(function), (8, 8)))
    torch.testing.assert_close(run_graph(session, IMAGES), function(IMAGES.clone()))


KERNEL = torch.outer(WEIGHT, BIAS)[..., None, None]  # [3, 3, 1, 1]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.silu(norm(F.conv2d(x, KERNEL), training=False)),
        lambda x: x.flatten(1).T.softmax(0).T.view(x.shape),
    ],
    ids=["norm", "reversed axes"],
)
def test_the_graph_is_that_of_a_second_trace(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    network = inside(pooled(function))
    types = [node.op_type for node in baked_graph(network, (8, 8)).graph]
    monkeypatch.setattr(EvaluatedProgram, "run_decompositions", ExportedProgram.run_decompositions)
    assert [node.op_type for node in baked_graph(network, (8, 8)).graph] == types


OFFSETS = (torch.arange(8)[:, None] - torch.arange(8)).abs()
SELECTED: dict[str, Function] = {
    "last axis": lambda x: x[..., (1, 0, 2, 3, 4, 5, 6, 7)],
    "second axis": lambda x: x[:, [2, 0, -3]],
    "offsets": lambda x: x.mean(2)[..., OFFSETS],
    "rows of a table": lambda x: BIAS.repeat(8, 3)[x.argmax(-1)][..., :8],
    "an index of the image": lambda x: WEIGHT.repeat(8)[x.argmax(-1, keepdim=True)] * x,
}


@pytest.mark.parametrize("case", SELECTED)
def test_indexing_by_one_tensor_is_one_gather(case: str) -> None:
    function = pooled(SELECTED[case])
    graph = baked_graph(inside(function), (8, 8))
    operators = [node.op_type for node in graph.graph]
    assert operators.count("Gather") == 1
    assert {"GatherND", "Transpose"}.isdisjoint(operators)
    torch.testing.assert_close(run_graph(open_graph(graph), IMAGES), function(IMAGES))


def test_axes_are_merged_by_a_reshape_which_the_passes_move() -> None:
    program = evaluated(pooled(lambda x: x.flatten(2).flatten(0, 1).softmax(-1).view(x.shape)), IMAGES)
    use_converted_operators(program.graph)
    assert "flatten" not in operators(program)


def test_torch_converts_every_operator_of_the_list() -> None:
    converters = ONNXRegistry.from_torchlib(20).functions.values()
    names = {str(each[0].fx_target).removeprefix("aten.") for each in converters}
    assert names >= CONVERTED
    assert not [name for name in CONVERTED if re.search(r"_\.", name)]  # such as relu_.default, which writes in place
