"""Records of constants that were merged into one, for the report."""

from collections.abc import Iterator
from typing import NamedTuple

import onnx_ir as ir

from export.passes.values import name_of, sizes_of

_MERGED = "posbake.merged"
"""Metadata key for the names of the constants that were merged into a constant."""


class Merged(NamedTuple):
    """A constant that is the sum of several.

    Attributes:
        names: names of the original constants; the first is its own.
        shape: shape in the graph.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]


def note_merged(model: ir.Model, kept: ir.Value, other: ir.Value, *, by_its_name: bool) -> None:
    """Record that `other` was merged into `kept`.

    With `by_its_name`, `kept` gets the name of `other` if `other` has no other reader.
    """
    names = (name_of(kept), *_names(kept), name_of(other), *_names(other))
    taken = model.graph.initializers
    if by_its_name and len(other.uses()) == 1:
        own, name = name_of(kept), name_of(other)
        taken.pop(own)
        taken.pop(name)
        kept.name, other.name = name, own
        taken[name], taken[own] = kept, other
    kept.meta[_MERGED] = tuple(name for name in dict.fromkeys(names) if name != kept.name)


def note_new_shape(value: ir.Value) -> None:
    """Record that the shape of a constant has changed."""
    value.meta.setdefault(_MERGED, ())


def merged(model: ir.Model) -> Iterator[Merged]:
    """Yield the merged constants that a graph reads."""
    for value in model.graph.initializers.values():
        if _MERGED in value.meta and value.uses():
            yield Merged((name_of(value), *_names(value)), sizes_of(value) or ())


def _names(value: ir.Value) -> tuple[str, ...]:
    return tuple(value.meta.get(_MERGED, ()))
