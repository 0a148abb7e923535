"""Refusals of a traced program, which name the module that an operator came from."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx

from export.process.errors import ExportError, first_line
from export.tracing.program.nodes import arguments_of, module_of, operator_of

_PRECISIONS = {torch.float16: "fp16", torch.bfloat16: "bf16"}
"""By type, what `--precision` calls it."""
_PRODUCTS = ("addmm", "baddbmm", "bmm", "conv1d", "conv2d", "conv3d", "linear", "matmul", "mm")
"""Operators that take floats of one type, which torch.export does not check."""
_SWITCHES = ("train", "training", "dropout_p", "dropout", "p")
"""Arguments that keep an operator from drawing random numbers if they are False or zero."""
_UNTAGGED = ("dropout", "feature_dropout", "feature_alpha_dropout", "rrelu", "scaled_dot_product_attention")
"""Operators that may draw random numbers but have no tag in torch, all of their forms or those in place."""


def check_random(graph: fx.Graph) -> None:
    """Check that no operator draws random numbers.

    Raises:
        ExportError: one does, whether it needs the image or not.
    """
    for node in graph.nodes:
        if draws(node):
            raise ExportError(
                f"{module_of(node) or 'the network'} draws random numbers ({node.target}) in eval mode; a graph whose "
                "answer is not the same each time cannot be exported: draw them `if self.training` only, as nn.Dropout "
                "and F.dropout(x, p, self.training) do"
            )


def check_sizes(graph: fx.Graph) -> None:
    """Check that every size is a number.

    Raises:
        ExportError: one depends on what the network computes.
    """
    for node in graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and not all(isinstance(size, int) for size in value.shape):
            raise ExportError(
                f"{module_of(node) or 'the network'} computes a tensor whose size depends on what is computed "
                f"({operator_of(node)} yields [{', '.join(map(_size, value.shape))}]); in an exported graph only the "
                "batch may vary: keep all tokens, and mask those that do not count"
            )


def check_precision(nodes: Collection[fx.Node]) -> None:
    """Check the types of floats in which those nodes compute that need the image.

    Raises:
        ExportError: one computes in half precision, with a weight in float64, or a product of two types.
    """
    for node in nodes:
        value = node.meta.get("val")
        if node.op != "call_function" or not isinstance(value, Tensor):
            continue
        if value.dtype in _PRECISIONS:
            raise halved(node)
        kinds = {source.meta["val"].dtype for source in node.all_input_nodes if _is_float(source)}
        if operator_of(node) in _PRODUCTS and len(kinds) > 1:
            raise ExportError(
                f"{module_of(node) or 'the network'} computes {operator_of(node)} of "
                f"{' and '.join(sorted(map(plain_type, kinds)))}; an export starts from float32: call .float() on the "
                "network; --precision fp16 makes a graph of half precision"
            )
        weights = [source for source in node.all_input_nodes if source.op == "placeholder" and source not in nodes]
        if value.dtype == torch.float64 and any(weight.meta["val"].dtype == torch.float64 for weight in weights):
            raise ExportError(
                f"{module_of(node) or 'the network'} computes {operator_of(node)} with weights in float64; an export "
                "starts from float32: call .float() on the network"
            )


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def halved(node: fx.Node) -> ExportError:
    """Return the error that says which module computes in half precision, and what to do."""
    dtype = node.meta["val"].dtype
    return ExportError(
        f"{module_of(node) or 'the network'} computes {operator_of(node)} in {plain_type(dtype)}; an export starts "
        "from float32: call .float() on the network, leave autocast and casts to half precision out, and let "
        f"--precision {_PRECISIONS[dtype]} lower the graph"
    )


def not_converted(error: BaseException) -> ExportError:
    """Return the error that says which operator torch.onnx does not convert, of which module, and why.

    Args:
        error: that torch.onnx raised. The last of its causes is the reason.
    """
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    node = next(filter(None, map(_node_in_hand, reversed(causes))), None)
    reason = f"{type(causes[-1]).__name__}: {first_line(causes[-1])}"
    if node is None:
        return ExportError(f"torch.onnx cannot convert the network: {reason}")
    known = "ONNX has no form of it" if type(causes[-1]).__name__ == "DispatchError" else reason
    return ExportError(
        f"torch.onnx cannot convert {node.target} in {module_of(node) or 'the network'}: {known}; compute it from "
        "other operators, or leave it out of the network"
    )


def _node_in_hand(error: BaseException) -> fx.Node | None:
    """Return the node that torch.onnx was at; it prints a name, often of its own making, and never the module."""
    traceback = error.__traceback__
    while traceback is not None:
        node = traceback.tb_frame.f_locals.get("node")
        if isinstance(node, fx.Node):
            return node
        traceback = traceback.tb_next
    return None


def draws(node: fx.Node) -> bool:
    """Return whether an operator draws random numbers with the arguments that it is given."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    if torch.Tag.nondeterministic_seeded not in node.target.tags and operator_of(node).rstrip("_") not in _UNTAGGED:
        return False
    given: dict[str, Any] = arguments_of(node)
    return all(given[name] for name in _SWITCHES if name in given)


def _size(size: int | torch.SymInt) -> str:
    return str(size) if isinstance(size, int) else "?"


def plain_type(dtype: torch.dtype) -> str:
    """Return the name of a type: `float32` for `torch.float32`."""
    return str(dtype).removeprefix("torch.")
