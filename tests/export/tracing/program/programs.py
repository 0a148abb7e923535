"""Small networks of one function, for tests of tracing and evaluation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from export.tracing.evaluation import evaluate
from export.tracing.program.nodes import operator_of
from export.tracing.torch_export import trace

Function = Callable[[Tensor], Tensor]


class Apply(nn.Module):
    """A module that applies a function to the image."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def inside(function: Function) -> nn.Module:
    """Return a network in eval mode whose module `1` applies the function."""
    return nn.Sequential(nn.Identity(), Apply(function)).eval()


def evaluated(function: Function, image: Tensor) -> ExportedProgram:
    """Return the evaluated program of a function, traced with zeros of the image's shape."""
    program, _ = evaluate(trace(inside(function), torch.zeros_like(image)))
    return program


def operators(program: ExportedProgram) -> set[str]:
    return {operator_of(node) for node in program.graph.nodes if node.op == "call_function"}


def assert_same(function: Function, image: Tensor) -> ExportedProgram:
    """Return the program of a function, after comparing it with the function."""
    program = evaluated(function, image)
    expected = function(image.clone())
    torch.testing.assert_close(program.module()(image.clone()), expected)
    changed = image + torch.linspace(0.5, 1.5, image.numel()).reshape(image.shape)
    try:
        torch.testing.assert_close(program.module()(changed), expected)
    except AssertionError:  # the comparison above is able to fail
        return program
    raise AssertionError("another image gives the same result")
