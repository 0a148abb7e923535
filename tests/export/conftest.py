"""Registries that torch rebuilds identically for every export, built once per process.

An export of a small network takes 1.7 s of CPU time instead of 2.8; see also `gc.freeze` in `tests/conftest.py`.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch._dynamo  # otherwise the first export imports it, after `gc.freeze`
from torch import nn
from torch._export import utils
from torch.onnx._internal.exporter._constants import TORCHLIB_OPSET
from torch.onnx._internal.exporter._registration import ONNXRegistry

from export import pipeline
from export.tracing.graph import TracedGraph

_make_registry = functools.cache(ONNXRegistry.from_torchlib)  # parses 500 functions
_materialize = utils._materialize_cpp_cia_ops
_materialized: list[str] = []


_trace = pipeline._trace


def registry_of_torchlib(opset_version: int = TORCHLIB_OPSET) -> ONNXRegistry:
    """Return a registry with its own lists, because an export may register more functions."""
    made = _make_registry(opset_version)
    registry = ONNXRegistry()
    registry._opset_version = opset_version
    registry.functions = {target: list(found) for target, found in made.functions.items()}
    return registry


def materialize_cpp_cia_ops() -> None:
    """Materialise the operators only if their list has changed; torch does it 64 times per export."""
    listed = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
    if listed != _materialized:
        _materialize()
        _materialized[:] = listed


ONNXRegistry.from_torchlib = staticmethod(registry_of_torchlib)  # type: ignore[method-assign]
utils._materialize_cpp_cia_ops = materialize_cpp_cia_ops
registry_of_torchlib()


@pytest.fixture(scope="module")
def shared_traces() -> Iterator[None]:
    """Trace a network once for all exports of a module, which differ in later steps; each rewrites its own copy."""
    traces: dict[str, TracedGraph] = {}

    def trace_once(source: pipeline._Source, network: nn.Module) -> TracedGraph:
        asked = source.request
        key = repr((asked.source, asked.weights, asked.overrides, asked.takes, asked.batch, asked.opset))
        if key not in traces:
            traces[key] = _trace(source, network)
        return replace(traces[key], model=traces[key].model.clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_trace", trace_once)
        yield
