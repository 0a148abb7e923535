"""Dynamic batch: conversion of a graph with a fixed batch size to a graph with a symbolic one.

torch.export gets fixed sizes. A network is traced with two batch sizes, and `export.tracing.alike` checks that both
graphs do the same. The larger batch is a prime of which no other size is a multiple, so each number that stands for
the batch can be recognised and replaced. No graph is therefore written with a hard-coded batch.
"""

import onnx_ir as ir

from export.passes.dynamic_batch.place import Place
from export.passes.dynamic_batch.rules import free, names_the_batch
from export.passes.fold_constants import fold, reason_to_keep
from export.passes.values import array_of, is_constant, scope_of, sizes_of
from export.tracing.alike import frozen


def free_batch(model: ir.Model, images: int) -> None:
    """Rewrite a graph that was traced with a distinctive batch to accept any batch.

    Args:
        model: the shapes of its values name the batch afterwards.
        images: the batch it was traced with; no other size in it is a multiple of that.

    Raises:
        ExportError: a node needs the batch size as a fixed number; the message names the module.
    """
    for node in list(model.graph):
        places = [Place(model, node, index, images) for index, value in enumerate(node.inputs) if is_constant(value)]
        found = [place for place in places if names_the_batch(place)]
        if found and reason_to_keep(node) is None:  # constants of every image, joined or arranged
            fold(model, node)
            continue
        for place in found:
            shown = _shown(place.value)
            if node.graph is not None and not free(place):
                raise frozen(scope_of(node), f"{node.op_type} is given {shown}", images)
    for value in (*model.graph.inputs, *(output for node in model.graph for output in node.outputs)):
        named = [_named(size, images) for size in sizes_of(value) or ()]
        # A value without a batch axis was cut out of one with it, so its size is not constant.
        value.shape = ir.Shape(named) if any(isinstance(size, str) for size in named) else None


def _named(size: int, images: int) -> int | str:
    times, rest = divmod(size, images)
    if rest or not times:
        return size
    return "batch" if times == 1 else f"{times}*batch"


def _shown(value: ir.Value) -> str:
    array = array_of(value)
    return str(array.tolist()) if array.size <= 8 else f"{array.dtype} {list(array.shape)}"
