"""Traced programs: the network's results from plain operators, or an error that names the module."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.process.errors import ExportError, first_line
from export.tracing.evaluation import evaluate
from export.tracing.program.nodes import count_operators, module_of, operator_of, without_wrappers
from export.tracing.torch_export import trace
from models.sources.twin import share_tensors
from tests.export.tracing.program.programs import Apply

IMAGE = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))


class Inside(nn.Module):
    """A network whose second block is given by the test."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(4, 4), block)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.blocks(x)
        return result


def run(network: nn.Module, image: Tensor = IMAGE) -> Tensor:
    """Return the result of the traced program."""
    result: Tensor = trace(network.eval(), torch.zeros_like(image)).module()(image.clone())
    return result


# Constants that are changed in place


def filled_mask(x: Tensor) -> Tensor:
    mask = torch.zeros(4)
    mask[:2] = 1.0
    mask[3:] = 5.0
    return x * mask


def read_and_then_changed(x: Tensor) -> Tensor:
    total = torch.ones(4)
    before = total * 2
    total.add_(3)
    return x * before + total


def image_written_into_zeros(x: Tensor) -> Tensor:
    room = torch.zeros(2, 3, 6)
    room[..., 1:5] = x
    return room * 2


IN_PLACE = {
    "a mask is filled window by window": filled_mask,
    "a constant is read before it is changed": read_and_then_changed,
    "the image is written into a constant": image_written_into_zeros,
}


@pytest.mark.parametrize("case", IN_PLACE)
def test_each_read_of_a_constant_changed_in_place_gets_its_value_at_that_point(case: str) -> None:
    expected = IN_PLACE[case](IMAGE.clone())
    program = trace(Apply(IN_PLACE[case]).eval(), torch.zeros_like(IMAGE))
    assert not any(operator.endswith("_") for operator in count_operators(program))
    torch.testing.assert_close(program.module()(IMAGE), expected, rtol=0, atol=0)
    evaluated, _ = evaluate(program)  # evaluation runs nodes in order, which in-place operators would spoil
    torch.testing.assert_close(evaluated.module()(IMAGE), expected, rtol=0, atol=0)
    with pytest.raises(AssertionError):  # the comparison above is able to fail
        torch.testing.assert_close(evaluated.module()(IMAGE + 1), expected, rtol=0, atol=0)


def test_keep_an_in_place_operator_on_a_value_that_depends_on_the_image() -> None:
    program = trace(nn.ReLU(inplace=True).eval(), IMAGE)
    assert count_operators(program) == {"relu_": 1}  # no decomposition


def test_keep_an_in_place_operator_whose_operand_has_no_other_reader() -> None:
    program = trace(Apply(lambda x: x * torch.arange(4.0).add_(1)).eval(), IMAGE)
    assert count_operators(program)["add_"] == 1
    torch.testing.assert_close(evaluate(program)[0].module()(IMAGE), IMAGE * torch.tensor([1.0, 2.0, 3.0, 4.0]))


# Side effects on the user's network


class Caching(nn.Module):
    """A network that caches its bias, as LeViT does in eval mode, its last value and its batch sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(7, generator=torch.Generator().manual_seed(1)))
        self.cache: dict[str, Tensor] = {}
        self.last: Tensor | None = None
        self.sizes: set[int] = set()

    def forward(self, x: Tensor) -> Tensor:
        if "bias" not in self.cache:
            self.cache["bias"] = self.table[torch.tensor([6, 0, 3, 3])]
        self.last = x * 2
        self.sizes.add(len(x))
        return x + self.cache["bias"]


def test_tracing_leaves_the_caches_of_a_network_empty() -> None:
    network = Caching().eval()
    torch.testing.assert_close(run(network), network.table.detach()[[6, 0, 3, 3]] + IMAGE)
    assert network.cache == {}
    assert network.last is None
    assert network.sizes == set()
    network(IMAGE)
    assert network.cache  # a run of the network itself fills the caches
    assert network.sizes == {2}


def test_a_network_that_shares_tensors_has_its_own_attributes() -> None:
    network = Caching()
    twin = share_tensors(network)
    assert isinstance(twin, Caching)
    assert twin.table is network.table
    assert twin.cache is not network.cache
    assert copy.deepcopy(network).table is not network.table  # a plain copy would double the memory


# Modes


def test_dropout_of_a_network_in_eval_mode_is_removed() -> None:
    network = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5))
    program = trace(network.eval(), IMAGE)
    assert "dropout" not in count_operators(program)
    torch.testing.assert_close(program.module()(IMAGE), network(IMAGE))


def test_keep_dropout_with_training_enabled() -> None:
    program = trace(Apply(lambda x: F.dropout(x, 0.5, training=True)).eval(), IMAGE)
    assert count_operators(program)["dropout"] == 1


def test_views_become_reshapes_that_accept_any_layout() -> None:
    counted = count_operators(trace(Apply(lambda x: x.view(2, 12)).eval(), IMAGE))
    assert counted == {"reshape": 1}


@pytest.mark.parametrize(
    ("pool", "image"),
    [(nn.AdaptiveAvgPool2d(1), torch.randn(2, 3, 4, 5)), (nn.AdaptiveAvgPool1d(1), torch.randn(2, 3, 4))],
)
def test_a_pool_to_one_number_is_a_mean(pool: nn.Module, image: Tensor) -> None:
    program = trace(pool.eval(), image)
    assert set(count_operators(program)) == {"mean"}
    torch.testing.assert_close(program.module()(image), pool(image))
    assert program.module()(image).shape == pool(image).shape


def test_keep_a_pool_when_it_leaves_more_than_one_number() -> None:
    pool, image = nn.AdaptiveAvgPool2d((1, 2)), torch.randn(2, 3, 4, 4)
    program = trace(pool.eval(), image)
    assert "mean" not in count_operators(program)
    torch.testing.assert_close(program.module()(image), pool(image))


# Errors


VALUE_DEPENDENT: dict[str, Callable[[Tensor], Tensor]] = {
    "if tensor": lambda x: x if x.sum() > 0 else -x,
    ".item()": lambda x: x * [1.0, 2.0][int(x.sum().item()) % 2],
    "numpy": lambda x: x + torch.from_numpy(x.numpy()),
}


@pytest.mark.parametrize("case", VALUE_DEPENDENT)
def test_control_flow_on_values_is_refused_with_the_module(case: str) -> None:
    with pytest.raises(
        ExportError, match=r"cannot trace the network in blocks\.1 \(Apply\): .*must not depend on tensors"
    ) as raised:
        trace(Inside(Apply(VALUE_DEPENDENT[case])).eval(), torch.randn(2, 3, 4))
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is not None


def test_torchs_output_about_a_failed_trace_is_suppressed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExportError):
        trace(Inside(Apply(VALUE_DEPENDENT["if tensor"])).eval(), torch.randn(2, 3, 4))
    assert capfd.readouterr() == ("", "")


def test_the_network_itself_is_named_by_its_class() -> None:
    with pytest.raises(ExportError, match=r"cannot trace the network in \(?Apply"):
        trace(Apply(VALUE_DEPENDENT["if tensor"]).eval(), IMAGE)


class AfterItsBlocks(Inside):
    """A network that fails after its blocks."""

    def forward(self, x: Tensor) -> Tensor:
        result = super().forward(x)
        return result if result.sum() > 0 else -result


def test_a_finished_submodule_is_not_named_in_the_error() -> None:
    with pytest.raises(ExportError, match=r"cannot trace the network in 1 \(AfterItsBlocks\)"):
        trace(nn.Sequential(nn.Identity(), AfterItsBlocks(nn.ReLU())).eval(), IMAGE)


def test_a_networks_own_error_is_reported_and_hooks_are_removed() -> None:
    network = Inside(nn.Linear(5, 5)).eval()
    with pytest.raises(ExportError, match=r"blocks\.1 \(Linear\)"):
        trace(network, IMAGE)
    assert all(not module._forward_pre_hooks and not module._forward_hooks for module in network.modules())


# Names


def test_operators_and_modules_have_their_plain_names() -> None:
    program = trace(Inside(nn.ReLU()).eval(), IMAGE)
    found = {operator_of(node): module_of(node) for node in program.graph.nodes if node.op == "call_function"}
    assert found == {"linear": "blocks.0", "relu": "blocks.1"}
    outermost = trace(Apply(torch.neg).eval(), IMAGE)
    assert [module_of(node) for node in outermost.graph.nodes if node.op == "call_function"] == [""]


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("network.network.blocks.0", "blocks.0"),
        ("network", ""),
        ("networks.0", "networks.0"),
        ("blocks.network", "blocks.network"),
    ],
)
def test_wrappers_are_not_part_of_module_paths(path: str, plain: str) -> None:
    assert without_wrappers(path) == plain


def test_an_error_is_one_line() -> None:
    assert first_line(ValueError("\n  what is wrong\nand why")) == "what is wrong"


@pytest.mark.skipif(not hasattr(torch.fx.config, "do_not_emit_stack_traces"), reason="this torch has no such setting")
@pytest.mark.parametrize("before", [False, True])
def test_no_stack_traces_are_recorded_and_the_setting_is_restored(
    *, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.fx.config, "do_not_emit_stack_traces", before)
    program = trace(Inside(nn.GELU()).eval(), IMAGE)
    assert not [node for node in program.graph.nodes if node.stack_trace]
    assert torch.fx.config.do_not_emit_stack_traces is before
