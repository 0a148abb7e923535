"""Comparison of a network traced with two batches, which must be equal except for sizes that are the batch.

Operators, size arguments and constants of two evaluated programs are compared. Constants were computed in batches, and
a product of two rows is rounded differently from one of eleven.
"""

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from export.process.errors import ExportError
from export.tracing.program.nodes import module_of, operator_of

SMALL = 2
"""Batch of the first trace. torch treats a size of 1 as broadcast."""

_MAY_GROW = frozenset({"_unsafe_view", "expand", "reshape", "unflatten", "view"})
"""Operators with sizes of their output as arguments. Slices may grow along the batch only."""

TOLERANCE = 1e-5
"""Tolerance between constants of two batches, relative to each number and to the median. BLAS kernels sum in another
order for another number of rows, which changes the last digits of float32, and more of them in each layer; the parity
check allows as much. Values that depend on the batch differ by far more."""

_PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113)


def distinctive_batch(small: ExportedProgram) -> int:
    """Return a batch such that no size in a program, traced with `SMALL` images, is a multiple of it.

    Raises:
        ExportError: the program has multiples of every prime that was tried.
    """
    sizes = {abs(size) for node in small.graph.nodes for size in _sizes(node) if size}
    for prime in _PRIMES:
        if all(size % prime for size in sizes):
            return prime
    raise ExportError("no batch can be told from the network's other sizes; export for one size with --batch N:N")


def check_alike(small: ExportedProgram, large: ExportedProgram, images: int) -> dict[str, int]:
    """Compare programs traced with `SMALL` and `images` images, and reduce each constant to the part of one image.

    A constant with a part for every image is replaced in `large` by the expanded part of the first image in `small`.

    Returns:
        The axis of the images in such constants, by name.

    Raises:
        ExportError: the programs differ in more than sizes that grow with the batch; the message names the module.
    """
    nodes, others = list(small.graph.nodes), list(large.graph.nodes)
    twins: dict[fx.Node, fx.Node] = {}
    for node, other in zip(nodes, others, strict=False):
        if (node.op, str(node.target)) != (other.op, str(other.target)) and node.op != "placeholder":
            raise frozen(module_of(node), f"{operator_of(node)} became {operator_of(other)}", images)
        twins[node] = other
        for (name, given), (_, there) in zip(_arguments(node), _arguments(other), strict=True):
            if not _same(given, there, twins, images, may_grow=_may_grow(node, name, images, other)):
                raise frozen(module_of(node), f"{name} of {operator_of(node)} is {given}, then {there}", images)
    if len(nodes) != len(others):
        raise frozen("", f"{len(nodes)} operators became {len(others)}", images)
    repeated: dict[str, int] = {}
    for (name, tensor), (other_name, there) in zip(_constants(small), _constants(large), strict=True):
        axis = _grown_axis(tensor, there, images)
        wholes = tensor, there
        if axis is not None:
            wholes = _by_image(tensor, axis, SMALL), _by_image(there, axis, images)
        one = wholes[0] if axis is None else wholes[0][:1]
        if (axis is None and tensor.shape != there.shape) or not all(_close(one, whole) for whole in wholes):
            raise frozen("", f"{name} is another constant, {list(tensor.shape)}, then {list(there.shape)}", images)
        if axis is not None:
            repeated[name] = axis
            large.constants[other_name] = one.expand(images, *one.shape[1:]).flatten(0, 1).movedim(0, axis)
    return repeated


def frozen(module: str, what: str, images: int) -> ExportError:
    """Return the error of a batch-specialised computation, with the module and the remedy."""
    where = f" in module {module}" if module else ""
    return ExportError(
        f"the batch is frozen{where}: with {SMALL} and {images} images, {what}; write what it computes without the "
        "batch's size, or export for one size alone with --batch N:N"
    )


def _sizes(node: fx.Node) -> list[int]:
    """Return every integer that a node is given, and the sizes of what it yields."""
    found: list[int] = []
    fx.node.map_aggregate((node.args, node.kwargs), lambda given: found.append(given) if type(given) is int else None)
    value = node.meta.get("val")
    if operator_of(node) == "roll":  # torch.onnx makes slices of it
        source, shifts, axes = _given(node)[:3]
        lengths = [source.meta["val"].shape[axis] for axis in axes]
        found += [part for shift, size in zip(shifts, lengths, strict=True) for part in (shift % size, -shift % size)]
    for tensor in value if isinstance(value, list | tuple) else (value,):
        found += tensor.shape if isinstance(tensor, Tensor) else ()
    return found


def _given(node: fx.Node) -> tuple[Any, ...]:
    return node.args


def _arguments(node: fx.Node) -> list[tuple[str, Any]]:
    if isinstance(node.target, torch._ops.OpOverload):
        names = [argument.name for argument in node.target._schema.arguments]
        return [*zip(names, node.args, strict=False), *node.kwargs.items()]
    return [(str(position), argument) for position, argument in enumerate(node.args)]


def _may_grow(node: fx.Node, name: str, images: int, other: fx.Node) -> bool:
    """Return whether an argument may be a multiple of the batch: a size, not a factor of a tensor."""
    operator = operator_of(node)
    if operator == "slice" and name == "end":
        source, axis, *_ = (*_given(node), 0)
        there = _given(other)[0]
        return bool(source.meta["val"].shape[axis] * images == there.meta["val"].shape[axis] * SMALL)
    return operator in _MAY_GROW and name != "dim"


def _same(given: Any, there: Any, twins: dict[fx.Node, fx.Node], images: int, *, may_grow: bool) -> bool:  # noqa: ANN401
    if isinstance(given, fx.Node):
        return twins.get(given) is there
    if isinstance(given, list | tuple):
        return len(given) == len(there) and all(
            _same(one, other, twins, images, may_grow=may_grow) for one, other in zip(given, there, strict=True)
        )
    if given == there:
        return True
    return may_grow and type(given) is int and type(there) is int and given * images == there * SMALL


def _constants(program: ExportedProgram) -> list[tuple[str, Tensor]]:
    names = [spec.target for spec in program.graph_signature.input_specs if spec.kind != InputKind.USER_INPUT]
    known = {**program.constants, **program.state_dict}
    return [(name, known[name]) for name in names if name is not None]


def _grown_axis(tensor: Tensor, there: Tensor, images: int) -> int | None:
    """Return the one axis along which a constant is larger, as the batch is, if all others are the same."""
    if tensor.ndim != there.ndim:
        return None
    grown = [axis for axis, sizes in enumerate(zip(tensor.shape, there.shape, strict=True)) if sizes[0] != sizes[1]]
    if len(grown) != 1 or tensor.shape[grown[0]] * images != there.shape[grown[0]] * SMALL:
        return None
    return grown[0]


def _close(tensor: Tensor, there: Tensor) -> bool:
    """Return whether numbers are equal, within `TOLERANCE` if they are no integers."""
    if tensor.data_ptr() == there.data_ptr() and tensor.shape == there.shape:
        return True
    if tensor.is_complex():
        return _close(torch.view_as_real(tensor), torch.view_as_real(there))
    if not tensor.is_floating_point():
        return bool((tensor == there).all())
    finite = tensor[tensor.isfinite() & (tensor != 0)].abs()
    typical = float(finite.median()) if finite.numel() else 0.0
    return bool(tensor.isclose(there, rtol=TOLERANCE, atol=TOLERANCE * typical, equal_nan=True).all())


def _by_image(tensor: Tensor, axis: int, images: int) -> Tensor:
    """Return [images, …] of what holds the images one after the other along `axis`."""
    first = tensor.movedim(axis, 0)
    return first.reshape(images, len(first) // images, *first.shape[1:])
