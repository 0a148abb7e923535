"""Traces that several tests share."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from torch import nn

from export import pipeline
from export.tracing.graph import TracedGraph

_trace = pipeline._trace


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
