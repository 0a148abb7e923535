"""Rewriting of a traced graph to a graph with a dynamic batch, and a record of its constants."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import onnx_ir as ir
from torch import Tensor, nn

from artifact import Batch, Rewrites
from export.passes import Cut, Folded, clean_up, prepare
from export.passes.dynamic_batch import make_batch_dynamic
from export.passes.summary import summarise
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


def build_graph(network: nn.Module, example: Tensor, batch: Batch, opset: int) -> Built:
    """Trace `network` and rewrite its graph: `trace_graph`, then `rewrite_graph`."""
    return rewrite_graph(trace_graph(network, example, batch, opset))


def rewrite_graph(traced: TracedGraph) -> Built:
    """Rewrite a traced graph in place until it has no constant subgraphs.

    Raises:
        ExportError: a node is batch-specialised.
    """
    model = traced.model
    folded, cuts, moved = prepare(model, traced.images)
    if traced.images is not None:
        make_batch_dynamic(model, traced.images)
    clean_up(model)
    constants = tuple(_as_stored(constant, cuts) for constant in _folded(traced.constants, folded))
    return Built(model, constants, summarise(moved, folded.declined), traced.traced, traced.left)


def _folded(constants: Iterable[Constant], folded: Folded) -> tuple[Constant, ...]:
    """Return the records of the constants after folding.

    Merged constants have one record, with the name and module of the first and the sources of all.
    """
    by_name = {constant.name: constant for constant in constants}
    for name in folded.changed & by_name.keys():
        by_name[name] = replace(by_name[name], folded="with scales and shifts folded in")
    for name in folded.gone & by_name.keys():
        by_name[name] = replace(by_name[name], folded="folded into weights", shape=(), bytes=0)
    for names, shape in folded.merged:
        parts = [by_name[name] for name in names if name in by_name]
        if not parts:
            continue
        first = parts[0]
        for other in parts[1:]:
            del by_name[other.name]
        by_name[first.name] = replace(
            first,
            work=tuple(dict.fromkeys(step for part in parts for step in part.work)),
            sources=tuple(dict.fromkeys(source for part in parts for source in part.sources)),
            used_by=tuple(dict.fromkeys(user for part in parts for user in part.used_by)),
            shape=shape,
            bytes=first.bytes // math.prod(first.shape) * math.prod(shape),
        )
    return tuple(by_name.values())


def _as_stored(constant: Constant, cuts: Iterable[Cut]) -> Constant:
    """Return the record of a constant with its stored shape, which is smaller if the constant was cut."""
    for cut in cuts:
        if (cut.name, cut.whole, cut.elsewhere) == (constant.name, constant.shape, False):
            return replace(constant, shape=cut.left, bytes=constant.bytes - cut.spared)
    return constant
