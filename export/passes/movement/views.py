"""Plans of views: Reshape, Slice and Transpose."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from math import prod
from operator import mul
from typing import NamedTuple

import numpy as np

from export.passes.movement.digits import Digit
from export.passes.movement.index_map import IndexMap
from export.passes.movement.steps import Plan, Reshape, Slice, Transpose, gather, tidied


class Term(NamedTuple):
    """A digit, or several that are one in the source as well.

    Its stride is None if it is in a table, or if it repeats elements or runs backwards: then it must be looked up.
    """

    size: int
    stride: int | None
    digits: tuple[Digit, ...]


class _Dimension(NamedTuple):
    """An axis that the source is seen with.

    Attributes:
        size: its places.
        start: the first that is taken.
        taken: how many are.
        term: what chooses among them; None if one is taken.
    """

    size: int
    start: int
    taken: int
    term: Term | None = None


def terms_of(one: IndexMap) -> list[Term]:
    """Return the digits, the slowest first; what follows each other in the source too is one."""
    terms: list[Term] = []
    for digit in one.digits:
        size, stride = one.sizes[digit], one.strides.get(digit)
        stride = None if stride is not None and stride <= 0 else stride
        last = terms[-1].stride if terms else None
        if stride is not None and last is not None and last == size * stride:
            terms[-1] = Term(terms[-1].size * size, stride, (*terms[-1].digits, digit))
        else:
            terms.append(Term(size, stride, (digit,)))
    return terms


def strided(one: IndexMap, source: tuple[int, ...]) -> Iterator[Plan]:
    """Yield plans without a Gather of several places."""
    terms = terms_of(one)
    if any(term.stride is None for term in terms):
        return
    starts_of_axes = set(accumulate(reversed(source), mul))
    ends_of_axes = set(accumulate(reversed(one.shape), mul))
    by_source = _split(terms, starts_of_axes, lambda term, _: term.stride or 1)
    variants = [terms, by_source, _split(terms, ends_of_axes, _behind), _split(by_source, ends_of_axes, _behind)]
    for refined in dict.fromkeys(map(tuple, variants)):
        yield from _strided_by(refined, one, source)


def _behind(_term: Term, behind: int) -> int:
    return behind


def _split(terms: Iterable[Term], ends: set[int], start: Callable[[Term, int], int]) -> list[Term]:
    """Return the terms, split where one reaches over an end.

    Args:
        terms: with strides.
        ends: in elements, of the source or of the result.
        start: given a term and how many elements its places hold in the result, where it begins, counted likewise.
    """
    done: list[Term] = []
    behind = 1
    for term in reversed(list(terms)):
        first = start(term, behind)
        inside = sorted(end // first for end in ends if end % first == 0 and first < end < first * term.size)
        behind *= term.size
        left, inner = term, 1
        assert term.stride is not None, "only strided terms are split"
        for end in inside:
            if left.size % (end // inner) == 0:
                size = end // inner
                done.insert(0, Term(size, left.stride, term.digits))
                left = Term(left.size // size, (left.stride or 0) * size, term.digits)
                inner = end
        done.insert(0, left)
    return done


def _strided_by(terms: Sequence[Term], one: IndexMap, source: tuple[int, ...]) -> Iterator[Plan]:
    dimensions = _dimensions(terms, one.base, source)
    if dimensions is None or (one.batch and any(d.size % one.batch == 0 and d.size != d.taken for d in dimensions)):
        return
    made = [dimension.term for dimension in dimensions]
    places = [made.index(term) for term in terms]
    if [term.size for term in terms] == [size for size in one.shape if size > 1]:
        dimensions, places = _with_ones(dimensions, places, one.shape)
    places += [position for position in range(len(dimensions)) if position not in places]
    result = Reshape(one.shape)
    turned = Transpose(tuple(places))
    whole, taken = Reshape(tuple(d.size for d in dimensions)), Reshape(tuple(d.taken for d in dimensions))
    sliced = [position for position, dimension in enumerate(dimensions) if dimension.taken != dimension.size]
    if not sliced:
        yield tidied([whole, turned, result], source)
        return
    bounds = tuple((dimensions[p].start, dimensions[p].start + dimensions[p].taken) for p in sliced)
    starts, stops = (tuple(numbers) for numbers in zip(*bounds, strict=True))
    for view, axes in ((source, _axes_of(dimensions, sliced, source)), (whole.shape, tuple(sliced))):
        if axes is None:
            continue
        inner = [view[axis] // dimensions[position].size for axis, position in zip(axes, sliced, strict=True)]
        cut = Slice(
            axes,
            tuple(start * times for start, times in zip(starts, inner, strict=True)),
            tuple(stop * times for stop, times in zip(stops, inner, strict=True)),
        )
        yield tidied([Reshape(view), cut, taken, turned, result], source)
        if len(axes) == 1 and cut.stops[0] - cut.starts[0] == 1:
            yield tidied([Reshape(view), gather(axes[0], np.asarray(cut.starts[0])), taken, turned, result], source)
    cut = Slice(tuple(places.index(position) for position in sliced), starts, stops)
    yield tidied([whole, turned, cut, result], source)


def _with_ones(
    dimensions: Sequence[_Dimension], places: Sequence[int], shape: tuple[int, ...]
) -> tuple[list[_Dimension], list[int]]:
    """Return dimensions, and which of them is where in the result, with those of size 1 that the result has."""
    made, left = list(dimensions), iter(places)
    wanted = [dimensions[next(left)] if size > 1 else None for size in shape]
    stands: list[_Dimension] = []
    for position in reversed(range(len(shape))):
        dimension = wanted[position]
        if dimension is None:
            dimension = _Dimension(1, 0, 1, Term(1, None, (-1 - position,)))
            before = made.index(stands[0]) if stands else len(made)
            made.insert(before, dimension)
        stands.insert(0, dimension)
    return made, [made.index(dimension) for dimension in stands]


def _dimensions(terms: Sequence[Term], base: int, source: tuple[int, ...]) -> list[_Dimension] | None:
    """Return the axes that a source must be seen with for each term to choose along one; None if there are none.

    Where all that a term chooses lies in one place of an axis of the source, that place is an axis of its own.
    """
    dimensions = []
    above = prod(source)
    ends = sorted(set(accumulate(reversed(source), mul)), reverse=True)
    for term in sorted(terms, key=lambda term: -(term.stride or 0)):
        stride = term.stride
        assert stride is not None, "asked before"
        for end in ends:
            inside = base % end // stride + term.size <= end // stride
            if stride * term.size <= end < above and above % end == 0 and end % stride == 0 and inside:
                dimensions.append(_Dimension(above // end, base // end % (above // end), 1))
                above = end
        size, rest = divmod(above, stride)
        start = base // stride % size if size else 0
        if rest or start + term.size > size:
            return None
        dimensions.append(_Dimension(size, start, term.size, term))
        above = stride
    if above > 1:
        dimensions.append(_Dimension(above, base % above, 1))
    return dimensions


def _axes_of(dimensions: Sequence[_Dimension], sliced: Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the axes of a shape that begin with the dimensions that are sliced; None if one has none of its own."""
    axes = []
    for position in sliced:
        above = prod(dimension.size for dimension in dimensions[:position])
        found = [axis for axis, size in enumerate(shape) if size > 1 and prod(shape[:axis]) == above]
        if not found or shape[found[0]] % dimensions[position].size:
            return None
        axes.append(found[0])
    return tuple(axes) if len(set(axes)) == len(axes) else None
