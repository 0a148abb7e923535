"""Operator tables of torch, built once per process instead of for each export.

torch.onnx parses the 500 functions of its table of operators for each export, and torch.export looks up all operators
64 times: a third of the time of a small export. Both functions are private to torch; a version of torch without them
builds its tables for each export.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


@contextmanager
def tables_built_once() -> Iterator[None]:
    """Let torch use the tables of an earlier export inside the context, which may be nested."""
    with ExitStack() as stack:
        for owner, name, replacement in _replacements():
            stack.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, replacement)
        yield


@functools.cache
def _replacements() -> Sequence[tuple[object, str, object]]:
    """Return owner, name and replacement of each function."""
    try:
        from torch._export import utils
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        build, materialize = functools.cache(ONNXRegistry.from_torchlib), utils._materialize_cpp_cia_ops
    except (ImportError, AttributeError):
        return ()
    return (
        (ONNXRegistry, "from_torchlib", staticmethod(_copies_of(build))),
        (utils, "_materialize_cpp_cia_ops", _once_for_each_list(materialize)),
    )


def _copies_of(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that returns a registry with its own lists, because an export may register functions."""

    def from_torchlib(*arguments: object, **options: object) -> Any:  # noqa: ANN401 -- torch's private class
        registry = copy.copy(build(*arguments, **options))
        registry.functions = {target: list(found) for target, found in registry.functions.items()}
        return registry

    return from_torchlib


def _once_for_each_list(materialize: Callable[[], None]) -> Callable[[], None]:
    """Return a function that looks up all operators only if their list has changed."""
    known: list[str] = []

    def materialize_if_changed() -> None:
        listed = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        if listed != known:
            materialize()
            known[:] = listed

    return materialize_if_changed
