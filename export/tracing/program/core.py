"""Replacement of operators that torch.onnx would decompose, where this needs no second trace.

torch.onnx decomposes operators by tracing the whole program again, also if there is nothing to decompose. Without that
trace, an export's traces and conversion take 0.5 to 0.7 times as long (benchmarks/retracing.py).
"""

import operator
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

from export.tracing.program.nodes import arguments_of, insert_call

_ATEN = torch.ops.aten

_NAMES = """
    _native_batch_norm_legit_no_training.default _to_copy.default _unsafe_view.default add.Tensor alias.default
    amax.default argmax.default avg_pool2d.default bmm.default cat.default chunk.default clamp.default
    clamp_min.default clone.default contiguous.default conv1d.default conv2d.default cos.default cumsum.default
    detach.default div.Tensor einsum.default elu.default embedding.default exp.default expand.default
    expand_as.default flip.default gather.default gelu.default glu.default grid_sampler.default
    group_norm.default hardsigmoid.default hardswish.default hardtanh.default index.Tensor index_select.default
    layer_norm.default leaky_relu.default linalg_vector_norm.default linear.default matmul.default
    max_pool2d.default mean.default mean.dim mul.Tensor neg.default pad.default permute.default
    pixel_unshuffle.default pow.Tensor_Scalar relu.default relu6.default repeat.default repeat_interleave.self_int
    reshape.default roll.default rsqrt.default select.int sigmoid.default silu.default sin.default slice.Tensor
    softmax.int split.Tensor split_with_sizes.default sqrt.default squeeze.default squeeze.dim stack.default
    sub.Tensor sum.dim_IntList t.default tanh.default tile.default topk.default transpose.int type_as.default
    unbind.int unflatten.int unfold.default unsqueeze.default upsample_bicubic2d.vec upsample_bilinear2d.vec
    upsample_nearest2d.vec view.default where.self
"""
CONVERTED = frozenset(_NAMES.split())
"""ATen operators without in-place writes that torch.onnx converts: all that are frequent in vision transformers."""


def use_converted_operators(graph: fx.Graph) -> bool:
    """Replace frequent operators that torch.onnx does not convert, and return whether it converts all that are left.

    Args:
        graph: graph of an evaluated program; it is modified.
    """
    for node in graph.nodes:
        if _overwrites_its_own(node):
            node.target = _functional(node)
    if any(_is_in_place(node) for node in graph.nodes):
        return False  # the replacements below return new tensors, where a later write may need an alias
    for node in list(graph.nodes):
        if node.target is _ATEN._assert_tensor_metadata.default:
            graph.erase_node(node)
        elif node.target is _ATEN.to.dtype:
            node.target, node.args, node.kwargs = _ATEN._to_copy.default, node.args[:1], {"dtype": node.args[1]}
        elif node.target in (_ATEN.reshape_as.default, _ATEN.flatten.using_ints):
            node.target, node.args = _ATEN.reshape.default, (node.args[0], list(node.meta["val"].shape))
        elif node.target is _ATEN.numpy_T.default:
            axes = range(node.meta["val"].dim())
            node.target, node.args = _ATEN.permute.default, (node.args[0], [*reversed(axes)])
        elif node.target is _ATEN.batch_norm.default and not arguments_of(node)["training"]:
            _use_inference_norm(node)
        elif node.target is _ATEN.index.Tensor:
            _select_along_one_axis(node)
    return all(_is_converted(node.target) for node in graph.nodes if node.op == "call_function")


def _is_converted(target: object) -> bool:
    return target is operator.getitem or str(target).removeprefix("aten.") in CONVERTED


def _use_inference_norm(node: fx.Node) -> None:
    given = arguments_of(node)
    names = ("input", "weight", "bias", "running_mean", "running_var", "momentum", "eps")
    operands = (given[name] for name in names)
    results = insert_call(node, _ATEN._native_batch_norm_legit_no_training.default, *operands)
    node.replace_all_uses_with(insert_call(node, operator.getitem, results, 0))
    node.graph.erase_node(node)


def _select_along_one_axis(node: fx.Node) -> None:
    """Replace indexing by one tensor, which torch.onnx would convert to GatherND between two Transposes, by Gather."""
    given: Any = node.args
    source, indices = given
    (axis, index), *others = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if others or index.meta["val"].dtype not in (torch.int32, torch.int64):
        return
    if source.meta["val"].ndim == 2 and axis == 0:
        found = insert_call(node, _ATEN.embedding.default, source, index)
    else:
        flat = insert_call(node, _ATEN.reshape.default, index, [-1])
        found = insert_call(node, _ATEN.index_select.default, source, axis, flat)
        found = insert_call(node, _ATEN.reshape.default, found, [*node.meta["val"].shape])
    node.replace_all_uses_with(found)
    node.graph.erase_node(node)


def _overwrites_its_own(node: fx.Node) -> bool:
    """Return whether a node overwrites a new tensor that nothing else reads, as activations with `inplace=True` do."""
    if not _is_in_place(node):
        return False
    written = node.args[0]
    return (
        isinstance(written, fx.Node)
        and list(written.users) == [node]
        and isinstance(written.target, OpOverload)
        and all(made.alias_info is None for made in written.target._schema.returns)
        and all(read.meta["val"].dtype == node.meta["val"].dtype for read in node.all_input_nodes)  # no promotion
        and _is_converted(_functional(node))
    )


def _is_in_place(node: fx.Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def _functional(node: fx.Node) -> OpOverload | None:
    """Return the operator that returns what an in-place operator writes, or None if there is none."""
    target = node.target
    assert isinstance(target, OpOverload)
    packet = getattr(_ATEN, target._schema.name.rpartition("::")[2].removesuffix("_"), None)
    return getattr(packet, target._overloadname, None)
