"""Dynamic batch: conversion of a graph with a fixed batch size to a graph with a symbolic one.

Networks are traced with static shapes and two batch sizes, and `export.tracing.alike` checks that the traces are
equivalent. The larger batch size is a prime of which no other size is a multiple, so every occurrence in the graph is
recognised and replaced.
"""

import onnx_ir as ir

from export.passes.dynamic_batch.constant_input import ConstantInput
from export.passes.dynamic_batch.rules import contains_batch, make_dynamic
from export.passes.fold_constants import fold, reason_to_keep
from export.passes.origins import subgraphs
from export.passes.values import array_of, is_constant, scope_of, sizes_of
from export.tracing.alike import batch_specialised


def make_batch_dynamic(model: ir.Model, images: int) -> None:
    """Rewrite a graph that was traced with a distinctive batch size to accept any batch size.

    Args:
        model: the graph; afterwards its shapes contain the symbolic dimension `batch`.
        images: the batch size of the trace; no other size in the graph is a multiple of it.

    Raises:
        ExportError: a node is batch-specialised; the message names its module.
    """
    for node in list(model.graph):
        if any(subgraphs(node)):  # its shapes would keep the batch size
            raise batch_specialised(scope_of(node), f"{node.op_type} contains a subgraph (control flow)", images)
        operands = [
            ConstantInput(model, node, index, images) for index, value in enumerate(node.inputs) if is_constant(value)
        ]
        found = [operand for operand in operands if contains_batch(operand)]
        if found and reason_to_keep(node) is None:  # constant-only node, for instance a Concat of expanded tokens
            fold(model, node)
            continue
        for operand in found:
            shown = _shown(operand.value)
            if node.graph is not None and not make_dynamic(operand):
                raise batch_specialised(scope_of(node), f"{node.op_type} reads the constant {shown}", images)
    for value in (*model.graph.inputs, *(output for node in model.graph for output in node.outputs)):
        named = [_symbolic(size, images) for size in sizes_of(value) or ()]
        # The shape of a value without a batch axis may still depend on the batch size, so it is dropped.
        value.shape = ir.Shape(named) if any(isinstance(size, str) for size in named) else None


def _symbolic(size: int, images: int) -> int | str:
    times, rest = divmod(size, images)
    if rest or not times:
        return size
    return "batch" if times == 1 else f"{times}*batch"


def _shown(value: ir.Value) -> str:
    array = array_of(value)
    return str(array.tolist()) if array.size <= 8 else f"{array.dtype} {list(array.shape)}"
