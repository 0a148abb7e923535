"""Constants that are cut to the part that is read."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from export.passes.values import add_constant, array_of, name_of, rename, scope_of

_WHOLE = "posbake.whole"
"""Metadata key for the constant that a part was cut from."""


class Cut(NamedTuple):
    """A constant of which one module reads only a part.

    Attributes:
        name: name of the whole constant.
        module: path of the module that reads the part.
        whole: shape of the whole constant.
        left: shape of the part.
        spared: bytes saved.
        elsewhere: True if another module reads the whole constant.
    """

    name: str
    module: str
    whole: tuple[int, ...]
    left: tuple[int, ...]
    spared: int
    elsewhere: bool


def cut(model: ir.Model, value: ir.Value, axis: int, start: int, stop: int) -> ir.Value:
    """Return a new initialiser with positions `start` to `stop` of an axis of `value`."""
    places = (slice(None),) * axis + (slice(start, stop),)
    part = add_constant(model, array_of(value)[places].copy(), name_of(value))
    part.meta[_WHOLE] = value.meta.get(_WHOLE, value)
    return part


def name_as_before(model: ir.Model) -> None:
    """Give a part the name of its whole constant, if nothing reads the whole constant or another part."""
    for whole, parts in _parts(model).items():
        if len(parts) == 1 and not whole.uses() and model.graph.initializers.get(name_of(whole)) in (None, whole):
            rename(model, parts[0], name_of(whole))


def cuts(model: ir.Model) -> Iterator[Cut]:
    """Yield the cut constants; nodes must still have their module paths."""
    for whole, parts in _parts(model).items():
        modules = {scope_of(use.node) for use in whole.uses()}
        by_module = defaultdict(list)
        for part in parts:
            for module in {scope_of(use.node) for use in part.uses()}:
                by_module[module].append(array_of(part))
        for module, (first, *others) in by_module.items():
            if module not in modules and all(np.array_equal(first, other) for other in others):
                array = array_of(whole)
                spared = array.nbytes - first.nbytes
                yield Cut(name_of(whole), module, array.shape, first.shape, spared, elsewhere=bool(modules))


def _parts(model: ir.Model) -> dict[ir.Value, list[ir.Value]]:
    """Return the parts that are read, by whole constant."""
    found = defaultdict(list)
    for value in model.graph.initializers.values():
        if _WHOLE in value.meta and value.uses():
            found[value.meta[_WHOLE]].append(value)
    return found
