"""Checks of a traced program; their errors name the module of an operator."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx

from export.process.errors import ExportError, first_line
from export.tracing.program.nodes import arguments_of, module_of, operator_of

_PRECISIONS = {torch.float16: "fp16", torch.bfloat16: "bf16"}
"""Values of `--precision`, by dtype."""
_PRODUCTS = ("addmm", "baddbmm", "bmm", "conv1d", "conv2d", "conv3d", "linear", "matmul", "mm")
"""Operators whose inputs must have one dtype, which torch.export does not check."""
_SWITCHES = ("train", "training", "dropout_p", "dropout", "p")
"""Arguments that make an operator deterministic if they are False or zero."""
_UNTAGGED = ("dropout", "feature_dropout", "feature_alpha_dropout", "rrelu", "scaled_dot_product_attention")
"""Operators that may draw random numbers, but lack torch's tag `nondeterministic_seeded` in some overloads."""


def check_random(graph: fx.Graph) -> None:
    """Check that no operator draws random numbers.

    Raises:
        ExportError: an operator draws random numbers.
    """
    for node in graph.nodes:
        if is_random(node):
            raise ExportError(
                f"{module_of(node) or 'the network'} draws random numbers ({node.target}) in eval mode; a graph must "
                "be deterministic: draw random numbers only `if self.training`, as nn.Dropout does"
            )


def check_sizes(graph: fx.Graph) -> None:
    """Check that all shapes are static.

    Raises:
        ExportError: a shape depends on the values of a tensor.
    """
    for node in graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and not all(isinstance(size, int) for size in value.shape):
            raise ExportError(
                f"{module_of(node) or 'the network'} computes a tensor with a data-dependent shape "
                f"({operator_of(node)} returns [{', '.join(map(_size, value.shape))}]); in an exported graph only the "
                "batch size may vary: keep all tokens, and mask those that are not used; instead of a constant mask, "
                "index with the numbers of its tokens, computed in the constructor (mask.nonzero())"
            )


def check_precision(nodes: Collection[fx.Node]) -> None:
    """Check the floating-point dtypes of the nodes that depend on the image.

    Raises:
        ExportError: a node computes in half precision, reads a weight in float64, or is a product of different dtypes.
    """
    for node in nodes:
        value = node.meta.get("val")
        if node.op != "call_function" or not isinstance(value, Tensor):
            continue
        if value.dtype in _PRECISIONS:
            raise half_precision_error(node)
        kinds = {source.meta["val"].dtype for source in node.all_input_nodes if _is_float(source)}
        if operator_of(node) in _PRODUCTS and len(kinds) > 1:
            raise ExportError(
                f"{module_of(node) or 'the network'} computes {operator_of(node)} of "
                f"{' and '.join(sorted(map(dtype_name, kinds)))}; an export requires float32: call .float() on the "
                "network, and use --precision fp16 for a half-precision graph"
            )
        weights = [source for source in node.all_input_nodes if source.op == "placeholder" and source not in nodes]
        if value.dtype == torch.float64 and any(weight.meta["val"].dtype == torch.float64 for weight in weights):
            raise ExportError(
                f"{module_of(node) or 'the network'} computes {operator_of(node)} with weights in float64; an export "
                "requires float32: call .float() on the network"
            )


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def half_precision_error(node: fx.Node) -> ExportError:
    """Return the error for a module that computes in half precision, with the remedy."""
    dtype = node.meta["val"].dtype
    return ExportError(
        f"{module_of(node) or 'the network'} computes {operator_of(node)} in {dtype_name(dtype)}; an export requires "
        "float32: call .float() on the network, remove autocast and casts to half precision, and use "
        f"--precision {_PRECISIONS[dtype]} for a half-precision graph"
    )


def not_converted(error: BaseException) -> ExportError:
    """Return the error for an operator that torch.onnx cannot convert, with its module and the reason.

    Args:
        error: error of torch.onnx; the last of its causes is the reason.
    """
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    node = next(filter(None, map(_failed_node, reversed(causes))), None)
    reason = f"{type(causes[-1]).__name__}: {first_line(causes[-1])}"
    if node is None:
        return ExportError(f"torch.onnx cannot convert the network: {reason}")
    known = "it has no ONNX equivalent" if type(causes[-1]).__name__ == "DispatchError" else reason
    return ExportError(
        f"torch.onnx cannot convert {node.target} in {module_of(node) or 'the network'}: {known}; express it by other "
        "operators, or remove it from the network"
    )


def _failed_node(error: BaseException) -> fx.Node | None:
    """Return the node at which torch.onnx failed, from the traceback: its message does not name the module."""
    traceback = error.__traceback__
    while traceback is not None:
        node = traceback.tb_frame.f_locals.get("node")
        if isinstance(node, fx.Node):
            return node
        traceback = traceback.tb_next
    return None


def is_random(node: fx.Node) -> bool:
    """Return whether an operator draws random numbers with its arguments."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    if torch.Tag.nondeterministic_seeded not in node.target.tags and operator_of(node).rstrip("_") not in _UNTAGGED:
        return False
    given: dict[str, Any] = arguments_of(node)
    return all(given[name] for name in _SWITCHES if name in given)


def _size(size: int | torch.SymInt) -> str:
    return str(size) if isinstance(size, int) else "?"


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype: `float32` for `torch.float32`."""
    return str(dtype).removeprefix("torch.")
