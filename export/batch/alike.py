"""Whether a network does the same with two batches, but for sizes that are the batch.

Compared are two evaluated programs: their operators one by one, the sizes they are given, their constants.
"""

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from export.errors import ExportError
from export.tracing import module_of, operator_of

SMALL = 2
"""Images to trace with first. torch takes 1 for a size that broadcasts."""

_MAY_GROW = frozenset({"_unsafe_view", "expand", "reshape", "unflatten", "view"})
"""Operators that are given sizes of what they yield. Slices may grow along the batch alone."""

_PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113)


def distinctive_batch(small: ExportedProgram) -> int:
    """Return a batch of which no size in a program, traced with `SMALL` images, is a multiple.

    Raises:
        ExportError: the program has multiples of every prime that is tried.
    """
    sizes = {abs(size) for node in small.graph.nodes for size in _sizes(node) if size}
    for prime in _PRIMES:
        if all(size % prime for size in sizes):
            return prime
    raise ExportError("no batch can be told from the network's other sizes; export for one size with --batch N:N")


def check_alike(small: ExportedProgram, large: ExportedProgram, images: int) -> None:
    """Compare programs traced with `SMALL` and with `images` images.

    Raises:
        ExportError: they differ by more than sizes that grow with the batch; the message names the module.
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
    for (name, tensor), (_, there) in zip(_constants(small), _constants(large), strict=True):
        if not _says_the_same(tensor, there, images):
            raise frozen("", f"{name} is another constant, {list(tensor.shape)}, then {list(there.shape)}", images)


def frozen(module: str, what: str, images: int) -> ExportError:
    """Return the error that says where the batch is frozen, and what to do."""
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
    """Whether an argument may be a multiple of the batch: a size, not a scalar that a tensor is multiplied with."""
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


def _says_the_same(tensor: Tensor, there: Tensor, images: int) -> bool:
    """Whether constants are equal, or hold the same numbers for every image along one axis."""
    if tensor.data_ptr() == there.data_ptr() and tensor.shape == there.shape:
        return True
    if tensor.shape == there.shape:
        return bool(((tensor == there) | ((tensor != tensor) & (there != there))).all())
    if tensor.ndim != there.ndim:
        return False
    grown = [axis for axis, sizes in enumerate(zip(tensor.shape, there.shape, strict=True)) if sizes[0] != sizes[1]]
    if len(grown) != 1 or tensor.shape[grown[0]] * images != there.shape[grown[0]] * SMALL:
        return False
    if not tensor.numel():  # no register tokens, for two images or many
        return True
    one = _by_image(tensor, grown[0], SMALL)[:1]
    return all(
        bool((_by_image(whole, grown[0], count) == one).all()) for whole, count in ((tensor, SMALL), (there, images))
    )


def _by_image(tensor: Tensor, axis: int, images: int) -> Tensor:
    """Return [images, …] of what holds the images one after the other along `axis`."""
    first = tensor.movedim(axis, 0)
    return first.reshape(images, -1, *first.shape[1:])
