"""Plans with one Gather of rows, before or after a Transpose.

A row consists of one or more whole last axes of the source or of the result. Movement inside the channels, such as head
splitting, stays a Transpose, because runtimes recognise attention by it.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import gcd, prod
from typing import NamedTuple

import numpy as np

from export.passes.movement.digits import LARGEST_TABLE
from export.passes.movement.index_map import IndexMap
from export.passes.movement.steps import Plan, Reshape, Step, gather, tidied
from export.passes.movement.tables import Integers
from export.passes.movement.views import Term, strided, terms_of


class _Rows(NamedTuple):
    """Rows that are gathered from the source, viewed as [before, rows, length].

    Attributes:
        before, rows, length: sizes of the three axes.
        indices: int64 indices of the gathered rows, in the order of the result, as bytes.
        terms: positions of the terms that index the axis `rows`.
        above: positions of the terms that index the axis `before`, the slowest in the source first.
        below: positions of the terms that index the axis `length`, the slowest in the source first.
    """

    before: int
    rows: int
    length: int
    indices: bytes
    terms: tuple[int, ...]
    above: tuple[int, ...]
    below: tuple[int, ...]


def gathered(one: IndexMap, source: tuple[int, ...]) -> Iterator[Plan]:
    """Yield plans with one Gather of rows."""
    terms = terms_of(one)
    tabled = [position for position, term in enumerate(terms) if term.stride is None]
    if tabled:
        starts: list[Iterable[int]] = [tabled, range(tabled[0], tabled[-1] + 1)]
    else:
        starts = [range(i, j) for i in range(len(terms)) for j in range(i + 2, len(terms) + 1)]
    for rows in dict.fromkeys(_rows(one, terms, set(start), prod(source)) for start in starts):
        if rows is not None and (tabled or len(rows.indices) == 8 * rows.rows):
            yield from _gather_first(one, terms, rows, source)
            yield from _gather_last(one, terms, rows, source)


def _rows(one: IndexMap, terms: Sequence[Term], chosen: set[int], count: int) -> _Rows | None:
    """Return the rows that the chosen terms index, with the terms whose strides lie between; None if there are none."""
    while True:
        order = sorted(chosen)
        if one.batch and any(terms[position].size % one.batch == 0 for position in order):
            return None
        offsets = _offsets(one, [terms[position] for position in order])
        if offsets is None:
            return None
        step, most = gcd(count, int(np.gcd.reduce(offsets))), int(offsets.max())
        others = sorted((p for p in range(len(terms)) if p not in chosen), key=lambda p: -(terms[p].stride or 0))
        below = [p for p in others if (terms[p].stride or 0) * terms[p].size <= step]
        above = [p for p in others if (terms[p].stride or 0) > most and p not in below]
        if len(below) + len(above) == len(others):
            break
        chosen = chosen.union(others).difference(below, above)
    length = prod(terms[position].size for position in below)
    end = count // prod(terms[position].size for position in above)
    if not _cover(terms, above, count, end) or not _cover(terms, below, length, 1) or step % length or end % length:
        return None
    indices = np.ascontiguousarray(offsets // length)
    return _Rows(count // end, end // length, length, indices.tobytes(), tuple(order), tuple(above), tuple(below))


def _cover(terms: Sequence[Term], positions: Sequence[int], above: int, last: int) -> bool:
    """Return whether terms, the largest stride first, cover all positions from stride `last` to stride `above`."""
    for position in positions:
        size, stride, _ = terms[position]
        if stride is None or size * stride != above:
            return False
        above = stride
    return above == last


def _offsets(one: IndexMap, terms: Sequence[Term]) -> Integers | None:
    """Return the offsets of some terms, in order, including the map's base; None if there are too many."""
    if prod(term.size for term in terms) > LARGEST_TABLE:
        return None
    digits = tuple(digit for term in terms for digit in term.digits)
    offsets = IndexMap([digits], one.sizes, one.strides, one.tables).along(0)
    return None if offsets is None else offsets + one.base


def _gather_first(one: IndexMap, terms: Sequence[Term], rows: _Rows, source: tuple[int, ...]) -> Iterator[Plan]:
    """Yield plans that gather from the source first; the remaining movement is at most a Transpose."""
    if rows.length % source[-1]:
        return
    index = np.frombuffer(rows.indices, np.int64)
    for view in _views(rows, source):
        axis = next(a for a, size in enumerate(view) if prod(view[:a]) == rows.before and size == rows.rows)
        taken: list[Step] = [Reshape(view), gather(axis, index)]
        shape = (*view[:axis], len(index), *view[axis + 1 :])
        order = [*rows.above, *rows.terms, *rows.below]
        left = IndexMap.identity(shape, one.batch).reshape([terms[position].size for position in order])
        left = left.transpose([order.index(position) for position in range(len(terms))]).reshape(one.shape)
        for rest in strided(left, shape):
            yield tidied([*taken, *rest], source)


def _views(rows: _Rows, source: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shape to gather from: the source's own if one of its axes is `rows`, else [before, rows, length]."""
    for axis, size in enumerate(source):
        if size == rows.rows and prod(source[:axis]) == rows.before:
            return [source]
    return [(rows.before, rows.rows, rows.length)]


def _gather_last(one: IndexMap, terms: Sequence[Term], rows: _Rows, source: tuple[int, ...]) -> Iterator[Plan]:
    """Yield plans that gather last, if the terms that index the rows are consecutive in the result."""
    first, last = rows.terms[0], rows.terms[-1]
    cuts = rows.length > 1 and rows.length % source[-1]
    if last - first + 1 != len(rows.terms) or cuts:
        return
    order = [*rows.above, first, *rows.below]
    sizes = {position: terms[position].size for position in order} | {first: rows.rows}
    ordered = [*range(first), first, *range(last + 1, len(terms))]
    left = IndexMap.identity(source, one.batch).reshape([sizes[position] for position in order])
    left = left.transpose([order.index(position) for position in ordered])
    shape = (prod(left.shape[:first]), rows.rows, prod(left.shape[first + 1 :]))
    if shape[-1] % one.shape[-1]:
        return
    index = np.frombuffer(rows.indices, np.int64)
    for rest in strided(left.reshape(shape), source):
        yield tidied([*rest, gather(1, index), Reshape(one.shape)], source)
