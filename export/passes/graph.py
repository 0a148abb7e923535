"""Rewriting of a traced graph to a graph with a dynamic batch, and a record of its constants."""

import math
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, replace

import onnx_ir as ir
from torch import Tensor, nn

from artifact import Batch, Rewrites
from export.passes import clean_up, prepare
from export.passes.dynamic_batch import make_batch_dynamic
from export.passes.exact import FOLDED
from export.passes.summary import summarise
from export.passes.values import made_from, shape_of
from export.tracing.evaluation import Constant
from export.tracing.graph import TracedGraph, trace_graph


@dataclass(frozen=True)
class Built:
    """A graph, and a record of how it was built.

    Attributes:
        model: the graph from `image` to `logits`.
        constants: results of partial evaluation, and the parameters that are still needed.
        rewrites: rewritten data movement and declined rewrites.
        traced: count of each ATen operator in the traced network.
        left: count of each ATen operator after partial evaluation.
    """

    model: ir.Model
    constants: tuple[Constant, ...]
    rewrites: Rewrites
    traced: Counter[str]
    left: Counter[str]


def build_graph(
    network: nn.Module, example: Tensor, batch: Batch, opset: int, *, fuses_attention: bool = False
) -> Built:
    """Trace `network` and rewrite its graph: `trace_graph`, then `rewrite_graph`."""
    return rewrite_graph(trace_graph(network, example, batch, opset), fuses_attention=fuses_attention)


def rewrite_graph(traced: TracedGraph, *, fuses_attention: bool = False) -> Built:
    """Rewrite a traced graph in place until it has no constant subgraphs.

    Args:
        traced: the graph.
        fuses_attention: whether attention becomes Attention, from opset 23 on.

    Raises:
        ExportError: a node is batch-specialised.
    """
    model = traced.model
    prepared = prepare(model, traced.images, fuses_attention=fuses_attention)
    constants = _as_stored(traced, prepared.gone)
    if traced.images is not None:
        make_batch_dynamic(model, traced.images)
    clean_up(model)
    return Built(model, constants, summarise(prepared.moved, prepared.declined), traced.traced, traced.left)


def _as_stored(traced: TracedGraph, gone: Container[str]) -> tuple[Constant, ...]:
    """Return the records of the constants after folding.

    Merged constants have one record, with the name and module of the first and the sources of all.
    """
    stored: dict[str, ir.Value] = {}
    for value in traced.model.graph.initializers.values():
        for name in made_from(value) if value.uses() else ():
            if name not in stored or math.prod(shape_of(value)) > math.prod(shape_of(stored[name])):
                stored[name] = value
    together: dict[ir.Value | str, list[Constant]] = {}
    for constant in traced.constants:
        together.setdefault(stored.get(constant.name, constant.name), []).append(constant)
    found: list[Constant] = []
    for place, parts in together.items():
        if isinstance(place, ir.Value):
            found.append(_stored_in(place, parts, traced.images))
        elif place in gone:
            found.append(replace(parts[0], folded="folded into weights", shape=(), bytes=0))
        else:
            found.append(parts[0])
    return tuple(found)


def _stored_in(value: ir.Value, parts: list[Constant], images: int | None) -> Constant:
    """Return the record of a stored constant that was derived from one or several."""
    names, shape = made_from(value), shape_of(value)
    first, *_ = parts = sorted(parts, key=lambda part: names.index(part.name))
    if images is not None and any(size % images == 0 for size in shape):
        shape = first.shape  # one copy for each image of the trace
    elif len(names) == 1 and math.prod(shape) == math.prod(first.shape):
        shape = min(first.shape, shape, key=len)  # transposed, or broadcast along axes of size 1
    return replace(
        first,
        work=tuple(dict.fromkeys(step for part in parts for step in part.work)),
        sources=tuple(dict.fromkeys(source for part in parts for source in part.sources)),
        used_by=tuple(dict.fromkeys(user for part in parts for user in part.used_by)),
        shape=shape,
        bytes=first.bytes * math.prod(shape) // max(math.prod(first.shape), 1),
        folded="with scales and shifts folded in" if FOLDED in value.meta and len(names) == 1 else "",
    )
