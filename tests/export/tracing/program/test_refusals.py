"""Errors of networks that cannot be exported: the module, the operator, and the remedy."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from artifact import Batch
from export.passes.graph import build_graph
from export.process.errors import ExportError
from export.tracing.evaluation import evaluate
from export.tracing.program.nodes import count_operators
from export.tracing.torch_export import trace
from tests.export.tracing.program.programs import Function, assert_same, inside

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def build(network: nn.Module) -> None:
    build_graph(network, torch.zeros(2, 3, 8, 8), Batch(min=1, max=8), 20)


RANDOM: dict[str, Function] = {
    "dropout": lambda x: F.dropout(x, 0.1),
    "feature_dropout": lambda x: F.dropout2d(x, 0.1),
    "rand_like": lambda x: x + torch.rand_like(x),
    "bernoulli": lambda x: x * torch.bernoulli(x.sigmoid()),
    "bernoulli of constants": lambda x: x * torch.bernoulli(torch.full_like(x, 0.5)),
    "uniform_": lambda x: x + torch.empty(8).uniform_(),
    "multinomial": lambda x: x + torch.multinomial(x.flatten(1).softmax(-1), 1)[:, :, None, None],
    "normal_ of a part": lambda x: torch.cat([x, x[:, :1].clone().normal_()], 1),
    "scaled_dot_product_attention": lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.2),
    "in a region": lambda x: torch.autocast("cpu", enabled=False)(lambda y: F.dropout(y, 0.3))(x),
}


@pytest.mark.parametrize("case", RANDOM)
def test_random_operators_are_refused_with_their_module(case: str) -> None:
    operator = case.partition(" of ")[0] if case != "in a region" else "dropout"
    with pytest.raises(
        ExportError, match=rf"^1 draws random numbers \(aten\.{operator}\.\w+\) in eval mode; .*self\.training"
    ):
        evaluate(trace(inside(RANDOM[case]), IMAGE))


def test_inactive_dropout_is_removed() -> None:
    def what(x: Tensor) -> Tensor:
        x = F.dropout2d(F.alpha_dropout(F.dropout(x, 0.3, training=False), 0.3), 0.3, training=False)
        return F.rrelu(F.dropout(x, 0.0), training=False) + F.feature_alpha_dropout(x, 0.2, training=False)

    counted = count_operators(assert_same(what, IMAGE))
    assert (
        set(counted) == {"add", "rrelu_with_noise"}
        or set(counted) == {"add", "leaky_relu"}
        or set(counted) == {"add", "rrelu"}
    )


SIZED: dict[str, Function] = {
    "index": lambda x: x.flatten(1)[x.flatten(1)[:, 0] > 0].mean(0, keepdim=True),
    "nonzero": lambda x: x.flatten(1) + (x.flatten(1) > 0).nonzero().float().mean(),
}


@pytest.mark.parametrize("operator", SIZED)
def test_a_size_that_depends_on_the_image_is_refused_with_the_module(operator: str) -> None:
    message = rf"^1 computes a tensor with a data-dependent shape \({operator} returns \[\?, .*mask those"
    with pytest.raises(ExportError, match=message):
        trace(inside(SIZED[operator]), IMAGE)


UNKNOWN: dict[str, Function] = {
    "aten._linalg_eigh.default": lambda x: torch.linalg.eigvalsh(x @ x.transpose(-1, -2)).flatten(1),
    "prims.bessel_i1.default": lambda x: torch.special.i1(x).flatten(1),
}


@pytest.mark.slow
@pytest.mark.parametrize("operator", UNKNOWN)
def test_an_operator_without_an_onnx_form_is_named_with_its_module(operator: str) -> None:
    with pytest.raises(
        ExportError, match=rf"^torch.onnx cannot convert {re.escape(operator)} in 1: it has no ONNX equivalent; "
    ):
        build(inside(UNKNOWN[operator]))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 4, 4)
        self.blocks = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.blocks(self.patch(x))
        return logits


TYPES = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float64: "float64"}


@pytest.mark.parametrize("dtype", TYPES)
def test_a_head_that_is_not_float32_is_refused_with_the_module(dtype: torch.dtype) -> None:
    network = Head()
    network.blocks.to(dtype)
    with pytest.raises(ExportError, match=rf"^blocks\.1 computes linear .*{TYPES[dtype]}.*call \.float\(\)"):
        build(network.eval())


class InDouble(Head):
    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x.double())
        return logits.float()


def test_weights_in_float64_are_refused_where_the_network_casts_its_images_to_them() -> None:
    with pytest.raises(ExportError, match=r"^patch computes conv2d with weights in float64; .*call \.float\(\)"):
        build(InDouble().double().eval())


def test_keep_float64_values_that_involve_no_weight() -> None:
    assert_same(lambda x: x.double().cumsum(-1).float(), IMAGE)


def test_logits_that_are_not_float32_are_refused() -> None:
    with pytest.raises(ExportError, match=r"logits are float64; expected float32"):
        build(inside(lambda x: x.flatten(1).double()))
