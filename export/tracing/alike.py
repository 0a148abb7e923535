"""Comparison of two traces of a network with different batch sizes.

The operators, arguments and constants of two evaluated programs must be equal, except for sizes that are multiples of
the batch size.
"""

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from export.process.errors import ExportError
from export.tracing.program.nodes import arguments_of, module_of, operator_of, without_wrappers

SMALL = 2
"""Batch size of the first trace. It is not 1, because torch broadcasts axes of size 1."""

_MAY_GROW = frozenset({"_unsafe_view", "expand", "reshape", "unflatten", "view"})
"""Operators whose arguments are sizes of their output."""

TOLERANCE = 1e-5
"""Tolerance between the constants of both traces, relative to each number and to the median; see `verify.parity`. BLAS
kernels sum in another order for another number of rows. Constants that depend on the batch size differ far more."""

_PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113)


def distinctive_batch(small: ExportedProgram) -> int:
    """Return a batch size of which no size in a program, traced with `SMALL` images, is a multiple.

    Raises:
        ExportError: the program has a multiple of every candidate.
    """
    sizes = {abs(size) for node in small.graph.nodes for size in _sizes(node) if size}
    for prime in _PRIMES:
        if all(size % prime for size in sizes):
            return prime
    raise ExportError(
        "every candidate for the batch size of the trace divides a size in the network; export for a single batch size "
        "with --batch N:N"
    )


def check_alike(small: ExportedProgram, large: ExportedProgram, images: int) -> dict[str, int]:
    """Compare programs traced with `SMALL` and `images` images.

    A constant that is repeated for each image is replaced in `large` by the expanded part of one image.

    Returns:
        The axis along which such constants are repeated, by name.

    Raises:
        ExportError: the programs differ in more than multiples of the batch size; the message names the module.
    """
    nodes, others = list(small.graph.nodes), list(large.graph.nodes)
    twins: dict[fx.Node, fx.Node] = {}
    for node, other in zip(nodes, others, strict=False):
        if (node.op, str(node.target)) != (other.op, str(other.target)) and node.op != "placeholder":
            raise batch_specialised(
                module_of(node), f"the operator is {operator_of(node)}, then {operator_of(other)}", images
            )
        twins[node] = other
        for (name, given), (_, other_value) in zip(_arguments(node), _arguments(other), strict=True):
            if not _same(given, other_value, twins, images, may_grow=_may_grow(node, name, images, other)):
                raise batch_specialised(
                    module_of(node), f"{name} of {operator_of(node)} is {given}, then {other_value}", images
                )
    if len(nodes) != len(others):
        raise batch_specialised("", f"there are {len(nodes)} operators, then {len(others)}", images)
    repeated: dict[str, int] = {}
    for (name, tensor), (other_name, other_value) in zip(_constants(small), _constants(large), strict=True):
        axis = _grown_axis(tensor, other_value, images)
        wholes = tensor, other_value
        if axis is not None:
            wholes = _by_image(tensor, axis, SMALL), _by_image(other_value, axis, images)
        one = wholes[0] if axis is None else wholes[0][:1]
        if (axis is None and tensor.shape != other_value.shape) or not all(_close(one, whole) for whole in wholes):
            raise batch_specialised(
                "", f"constant {name} differs, {list(tensor.shape)}, then {list(other_value.shape)}", images
            )
        if axis is not None:
            repeated[name] = axis
            large.constants[other_name] = one.expand(images, *one.shape[1:]).flatten(0, 1).movedim(0, axis)
    return repeated


def batch_specialised(module: str, what: str, images: int) -> ExportError:
    """Return the error for a batch-specialised computation, with the module and the remedy."""
    module = without_wrappers(module)
    where = f" in module {module}" if module else ""
    return ExportError(
        f"the network is batch-specialised{where}: traced with {SMALL} and {images} images, {what}; compute it without "
        "the batch size, or export for a single batch size with --batch N:N"
    )


def _sizes(node: fx.Node) -> list[int]:
    """Return the integer arguments of a node and the sizes of its outputs."""
    found: list[int] = []
    fx.node.map_aggregate((node.args, node.kwargs), lambda given: found.append(given) if type(given) is int else None)
    value = node.meta.get("val")
    if operator_of(node) == "roll":  # torch.onnx converts it to slices of these lengths
        given = arguments_of(node)
        lengths = [given["self"].meta["val"].shape[axis] for axis in given["dims"]]
        pairs = zip(given["shifts"], lengths, strict=True)
        found += [part for shift, size in pairs for part in (shift % size, -shift % size)]
    for tensor in value if isinstance(value, list | tuple) else (value,):
        found += tensor.shape if isinstance(tensor, Tensor) else ()
    return found


def _arguments(node: fx.Node) -> list[tuple[str, Any]]:
    if isinstance(node.target, torch._ops.OpOverload):
        return [*arguments_of(node).items()]
    return [(str(position), argument) for position, argument in enumerate(node.args)]


def _may_grow(node: fx.Node, name: str, images: int, other: fx.Node) -> bool:
    """Return whether an argument may be a multiple of the batch size; the end of a slice along the batch axis may."""
    operator = operator_of(node)
    if operator == "slice" and name == "end":
        given = arguments_of(node)
        sizes = given["self"].meta["val"].shape, arguments_of(other)["self"].meta["val"].shape
        return bool(sizes[0][given["dim"]] * images == sizes[1][given["dim"]] * SMALL)
    return operator in _MAY_GROW and name != "dim"


def _same(given: Any, other_value: Any, twins: dict[fx.Node, fx.Node], images: int, *, may_grow: bool) -> bool:  # noqa: ANN401
    if isinstance(given, fx.Node):
        return twins.get(given) is other_value
    if isinstance(given, list | tuple):
        return len(given) == len(other_value) and all(
            _same(one, other, twins, images, may_grow=may_grow) for one, other in zip(given, other_value, strict=True)
        )
    if given == other_value:
        return True
    return may_grow and type(given) is int and type(other_value) is int and given * images == other_value * SMALL


def _constants(program: ExportedProgram) -> list[tuple[str, Tensor]]:
    names = [spec.target for spec in program.graph_signature.input_specs if spec.kind != InputKind.USER_INPUT]
    known = {**program.constants, **program.state_dict}
    return [(name, known[name]) for name in names if name is not None]


def _grown_axis(tensor: Tensor, other_value: Tensor, images: int) -> int | None:
    """Return the axis along which a constant grows with the batch size, if all other axes are equal."""
    if tensor.ndim != other_value.ndim:
        return None
    grown = [
        axis for axis, sizes in enumerate(zip(tensor.shape, other_value.shape, strict=True)) if sizes[0] != sizes[1]
    ]
    if len(grown) != 1 or tensor.shape[grown[0]] * images != other_value.shape[grown[0]] * SMALL:
        return None
    return grown[0]


def _close(tensor: Tensor, other_value: Tensor) -> bool:
    """Return whether tensors are equal, within `TOLERANCE` unless they are integers."""
    if tensor.data_ptr() == other_value.data_ptr() and tensor.shape == other_value.shape:
        return True
    if tensor.is_complex():
        return _close(torch.view_as_real(tensor), torch.view_as_real(other_value))
    if not tensor.is_floating_point():
        return bool((tensor == other_value).all())
    finite = tensor[tensor.isfinite() & (tensor != 0)].abs()
    typical = float(finite.median()) if finite.numel() else 0.0
    # other_value may have more rows: with equal_nan, torch 2.11 broadcasts only the second tensor.
    return bool(other_value.isclose(tensor, rtol=TOLERANCE, atol=TOLERANCE * typical, equal_nan=True).all())


def _by_image(tensor: Tensor, axis: int, images: int) -> Tensor:
    """Return a tensor whose `axis` is repeated for each image as [images, …]."""
    first = tensor.movedim(axis, 0)
    return first.reshape(images, len(first) // images, *first.shape[1:])
