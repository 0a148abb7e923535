"""Regions such as autocast and no_grad, which torch.export traces as subgraphs, are inlined and evaluated."""

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.process.errors import ExportError
from export.tracing.evaluation import evaluate
from export.tracing.program.nodes import count_operators
from export.tracing.torch_export import trace
from tests.export.tracing.program.programs import Function, assert_same, inside, operators

IMAGE = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(0))
ANGLES = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
WEIGHT = torch.randn(8, 8, generator=torch.Generator().manual_seed(2))


def rotated(x: Tensor, turns: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.reshape(*x.shape[:2], 4, 2).contiguous())
    return torch.view_as_real(pairs * turns).flatten(2)


def rotations(device: str) -> Function:
    def what(x: Tensor) -> Tensor:
        with torch.autocast(device, enabled=False):
            turns = torch.polar(torch.ones_like(ANGLES), ANGLES)
        return rotated(x, turns)

    return what


class Turns(nn.Module):
    """Rotations computed from positions in float32; only the shape of the argument is read."""

    @torch.autocast("cuda", enabled=False)  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        angles = torch.linspace(-1, 1, x.shape[1]).to(x)[:, None] * torch.arange(1, 9).to(x)
        return angles.sin(), angles.cos()


def decorated(x: Tensor) -> Tensor:
    sin, cos = Turns()(x[:, 1:])
    result: Tensor = x[:, 1:] * cos + x[:, 1:].roll(1, -1) * sin
    return result


def nested(x: Tensor) -> Tensor:
    with torch.autocast("cuda", enabled=False), torch.no_grad():
        with torch.autocast("cpu", enabled=False):
            y = x * ANGLES.repeat(1, 2).sin()
        with torch.inference_mode():
            shift = ANGLES.exp().sum()
        with torch.enable_grad():
            y = y + x.relu()
    return y + shift


def on_but_without_effect(x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = x * ANGLES.repeat(1, 2)
    with torch.autocast("cuda", dtype=torch.float16):  # of another device than the traced one
        return y @ WEIGHT


REGIONS: dict[str, Function] = {
    "rotations, CPU": rotations("cpu"),
    "rotations, CUDA": rotations("cuda"),
    "a decorated module": decorated,
    "nested regions": nested,
    "active regions without effect": on_but_without_effect,
}


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("case", REGIONS)
def test_a_region_is_inlined_and_evaluated(case: str) -> None:
    found = operators(assert_same(REGIONS[case], IMAGE))
    assert not {name for name in found if "wrap" in name}
    assert found.isdisjoint({"polar", "sin", "cos", "linspace", "arange", "exp"})


def test_constants_evaluated_in_a_region_are_listed() -> None:
    program = trace(inside(rotations("cpu")), IMAGE)
    assert "wrap_with_autocast" not in count_operators(program)
    _, constants = evaluate(program)
    assert [(constant.module, constant.work) for constant in constants] == [("1", ("ones_like", "polar"))]


def product(x: Tensor) -> Tensor:
    return F.linear(x, WEIGHT)


def in_autocast(what: Function, dtype: torch.dtype) -> Function:
    def region(x: Tensor) -> Tensor:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", dtype=dtype):
            return what(x).float()

    return region


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize(("dtype", "precision"), [(torch.bfloat16, "bf16"), (torch.float16, "fp16")])
def test_an_active_region_that_changes_results_is_refused_with_the_module(dtype: torch.dtype, precision: str) -> None:
    message = rf"^1 computes linear in {str(dtype)[6:]}; .* remove autocast .*--precision {precision} "
    with pytest.raises(ExportError, match=message):
        evaluate(trace(inside(in_autocast(product, dtype)), IMAGE))


HALVED: dict[str, Callable[[Tensor], Tensor]] = {
    "mul": lambda x: (x.half() * ANGLES.repeat(1, 2).half()).float(),
    "linear": lambda x: F.linear(x.bfloat16(), WEIGHT.bfloat16()).float(),
}


@pytest.mark.parametrize("operator", HALVED)
def test_half_precision_inside_a_network_is_refused_with_the_module(operator: str) -> None:
    with pytest.raises(ExportError, match=re.escape("call .float() on the network")) as refusal:
        evaluate(trace(inside(HALVED[operator]), IMAGE))
    assert str(refusal.value).startswith("1 computes ")


def test_a_table_stored_in_half_precision_is_accepted() -> None:
    table = ANGLES.half()
    program = assert_same(lambda x: x[..., :4] * table.float(), IMAGE)
    assert count_operators(program) == {"slice": 1, "mul": 1}
