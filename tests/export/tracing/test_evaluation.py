"""Partial evaluation: operators independent of the image become constants, and results do not change."""

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.process.errors import ExportError
from export.tracing.evaluation import Constant, evaluate
from export.tracing.program.nodes import count_operators
from export.tracing.torch_export import trace

IMAGE = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))


class Bias(nn.Module):
    """A bias [3, 4, 4] gathered from a table [7, 3]."""

    index: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(7, 3, generator=torch.Generator().manual_seed(1)))
        offsets = torch.arange(4)[:, None] - torch.arange(4) + 3
        self.register_buffer("index", offsets, persistent=False)

    def forward(self) -> Tensor:
        bias: Tensor = self.table[self.index].permute(2, 0, 1)  # [3, 4, 4]
        return bias


class Scores(nn.Module):
    """Scores within each row, with a bias and an MLP over offsets; one parameter is unused."""

    def __init__(self) -> None:
        super().__init__()
        self.relative = Bias()
        self.mlp = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 4))
        self.norm = nn.LayerNorm(4)
        self.register_buffer("offsets", torch.linspace(-1, 1, 8).reshape(4, 2))
        self.unused = nn.Parameter(torch.zeros(1000))

    offsets: Tensor

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        scores: Tensor = x[..., None] * x[..., None, :] + self.relative()
        return scores + 16 * torch.sigmoid(self.mlp(self.offsets))


class WithTable(nn.Module):
    """A module that applies a function to the image and a table."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.table = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.table)


def constants_of(network: nn.Module, image: Tensor = IMAGE) -> dict[str, Constant]:
    _, constants = evaluate(trace(network.eval(), torch.zeros_like(image)))
    return {constant.name: constant for constant in constants}


def test_the_evaluated_program_gives_the_networks_results_on_other_images() -> None:
    network = Scores().eval()
    program, _ = evaluate(trace(network, torch.zeros_like(IMAGE)))
    torch.testing.assert_close(program.module()(IMAGE), network(IMAGE), rtol=0, atol=0)
    with torch.no_grad():
        network.relative.table.zero_()
    with pytest.raises(AssertionError):  # the comparison above is able to fail
        torch.testing.assert_close(program.module()(IMAGE), network(IMAGE))


def test_only_operators_that_depend_on_the_image_remain() -> None:
    traced = trace(Scores().eval(), torch.zeros_like(IMAGE))
    before = count_operators(traced)
    program, _ = evaluate(traced)
    assert {"index", "permute", "linear", "relu", "sigmoid"} <= before.keys()
    assert count_operators(program) == {"layer_norm": 1, "unsqueeze": 2, "mul": 1, "add": 2}


def test_a_constant_is_named_after_its_only_table_regardless_of_indices() -> None:
    bias = constants_of(Scores())["relative.table_baked"]
    assert bias == Constant(
        name="relative.table_baked",
        module="relative",
        work=("index",),
        sources=("relative.table", "relative.index"),
        used_by=("add",),
        shape=(3, 4, 4),
        bytes=3 * 4 * 4 * 4,
    )


def test_a_constant_of_several_tensors_is_named_after_its_module_and_last_operator() -> None:
    made = constants_of(Scores())["mul_baked"]
    assert made.work == ("linear", "relu", "sigmoid", "mul")
    assert made.sources == ("offsets", "mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias")
    assert (made.module, made.shape) == ("", (4, 4))


def test_parameters_applied_to_the_image_are_listed_unchanged() -> None:
    weight = constants_of(Scores())["norm.weight"]
    assert weight == Constant("norm.weight", "", (), ("norm.weight",), ("layer_norm",), (4,), 16)


def test_views_do_not_count_as_work() -> None:
    network = WithTable(lambda x, table: x + table.unsqueeze(0).transpose(1, 2).expand(2, 3, 4), (4, 3))
    constant = constants_of(network)["table_baked"]
    assert (constant.work, constant.shape) == ((), (1, 3, 4))
    assert constant.bytes == 3 * 4 * 4  # function is repeated for the batch counts once


def test_duplicate_names_are_numbered() -> None:
    network = WithTable(lambda x, table: (x + table.exp()) * table.sin() - table.cos(), (4,))
    assert list(constants_of(network)) == ["table_baked", "table_baked_1", "table_baked_2"]


def test_a_constant_lists_all_operators_that_read_it() -> None:
    def twice(x: Tensor, table: Tensor) -> Tensor:
        wide = table.exp()
        return x * wide + wide

    assert constants_of(WithTable(twice, (4,)))["table_baked"].used_by == ("mul", "add")


def test_unused_parameters_and_baked_tables_are_removed() -> None:
    program, _ = evaluate(trace(Scores().eval(), IMAGE))
    assert set(program.state_dict) == {"norm.weight", "norm.bias"}
    assert set(program.constants) == {"relative.table_baked", "mul_baked"}
    assert len(program.graph_signature.input_specs) == 5  # these four, and the image


def test_each_output_of_an_operator_is_a_separate_constant() -> None:
    def halves(x: Tensor, table: Tensor) -> Tensor:
        first, second = table.chunk(2)
        return x * first + second

    network = WithTable(halves, (8,))
    found = constants_of(network)
    assert [constant.shape for constant in found.values()] == [(4,), (4,)]
    program, _ = evaluate(trace(network.eval(), torch.zeros_like(IMAGE)))
    torch.testing.assert_close(program.module()(IMAGE), IMAGE * network.table[:4] + network.table[4:])


RANDOM: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "noise": lambda x, table: x + torch.randn(4) * table,
    "noise as large as a table": lambda x, table: x + torch.rand_like(table),
    "dropout of a table": lambda x, table: x + F.dropout(table, 0.5, training=True),
}


@pytest.mark.parametrize("case", RANDOM)
def test_random_numbers_are_refused_with_the_module(case: str) -> None:
    network = nn.Sequential(nn.Linear(4, 4), WithTable(RANDOM[case], (4,)))
    with pytest.raises(ExportError, match=r"^1 draws random numbers \(aten"):
        evaluate(trace(network.eval(), IMAGE))


def test_an_output_that_does_not_depend_on_the_image_is_refused() -> None:
    with pytest.raises(ExportError, match="does not depend on the image"):
        evaluate(trace(WithTable(lambda x, table: table.exp().expand(len(x), 4), (4,)).eval(), IMAGE))


class Counting(nn.Module):
    """A module that counts its runs in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros(4))

    runs: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.runs.add_(1)
        return x + self.runs


class Renormalising(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3, max_norm=1.0)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.table(x.argmax(-1) % 5)
        return found


@pytest.mark.parametrize(("module", "name"), [(Counting, "1.runs"), (Renormalising, "1.table.weight")])
def test_a_network_that_changes_its_tensors_is_refused_with_their_names(module: type[nn.Module], name: str) -> None:
    network = nn.Sequential(nn.ReLU(), module()).eval()
    with pytest.raises(ExportError, match=re.escape(f"changes its buffers or parameters {name} in forward")):
        evaluate(trace(network, IMAGE))


def test_a_table_may_be_used_both_as_stored_and_evaluated() -> None:
    network = WithTable(lambda x, table: x * table + table.exp(), (4,)).eval()
    program, constants = evaluate(trace(network, torch.zeros_like(IMAGE)))
    assert [constant.name for constant in constants] == ["table", "table_baked"]
    torch.onnx.export(program, (), dynamo=True, optimize=False, verbose=False)  # torch refuses conflicting names


def test_in_place_operators_on_constants_are_evaluated() -> None:
    # torch detaches a tensor created in forward, in place.
    program, _ = evaluate(trace(WithTable(lambda x, _: x * torch.tensor([1.0, 2.0, 3.0, 4.0]), (4,)).eval(), IMAGE))
    assert count_operators(program) == {"mul": 1}


READ_SHAPES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "zeros_like": lambda x, table: torch.maximum(x, torch.zeros_like(x) + table),
    "full_like": lambda x, table: x * torch.full_like(x, 3.0) * table,
    "new_ones": lambda x, table: x + x.new_ones(4).mul_(2) * table,
    "another type": lambda x, table: x + torch.ones_like(x, dtype=torch.int64).cumsum(-1) * table,
    "empty_like, filled": lambda x, table: x * torch.empty_like(x).fill_(5.0) * table,
}


@pytest.mark.parametrize("case", READ_SHAPES)
def test_operators_that_read_only_the_shape_of_the_image_are_evaluated(case: str) -> None:
    network = WithTable(READ_SHAPES[case], (4,)).eval()
    program, constants = evaluate(trace(network, torch.zeros_like(IMAGE)))
    torch.testing.assert_close(program.module()(IMAGE), network(IMAGE))
    assert not {name for name in count_operators(program) if name.endswith("_like") or name.startswith(("new", "fill"))}
    assert "table" in {source for constant in constants for source in constant.sources}
