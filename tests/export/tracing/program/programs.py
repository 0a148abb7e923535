"""Small networks of one function, for tests of what tracing and evaluation make of them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from export.tracing.evaluation import evaluate
from export.tracing.program.nodes import operator_of
from export.tracing.torch_export import trace

Function = Callable[[Tensor], Tensor]


class Doing(nn.Module):
    """Does to the image what a function does."""

    def __init__(self, what: Function) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        return self.what(x)


def inside(what: Function) -> nn.Module:
    """Return a network in eval mode whose module `1` does it."""
    return nn.Sequential(nn.Identity(), Doing(what)).eval()


def evaluated(what: Function, image: Tensor) -> ExportedProgram:
    """Return the program of a function, traced with another image of that shape."""
    program, _ = evaluate(trace(inside(what), torch.zeros_like(image)))
    return program


def operators(program: ExportedProgram) -> set[str]:
    return {operator_of(node) for node in program.graph.nodes if node.op == "call_function"}


def assert_same(what: Function, image: Tensor) -> ExportedProgram:
    """Compare a function's program with the function, and return the program."""
    program = evaluated(what, image)
    expected = what(image.clone())
    torch.testing.assert_close(program.module()(image.clone()), expected)
    changed = image + torch.linspace(0.5, 1.5, image.numel()).reshape(image.shape)
    try:
        torch.testing.assert_close(program.module()(changed), expected)
    except AssertionError:  # the comparison above is able to fail
        return program
    raise AssertionError("another image gives the same result")
