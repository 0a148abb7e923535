"""Plans that consist of Reshape, Slice and Transpose."""

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
    """One digit, or consecutive digits that are contiguous in the source.

    The stride is None if the digit is in a table, repeats elements or has a negative stride: it then needs a Gather.
    """

    size: int
    stride: int | None
    digits: tuple[Digit, ...]


class _Dimension(NamedTuple):
    """An axis of the reshaped source.

    Attributes:
        size: number of positions.
        start: first position that is read.
        taken: number of positions that are read.
        term: term that indexes the axis; None if a single position is read.
    """

    size: int
    start: int
    taken: int
    term: Term | None = None


def terms_of(one: IndexMap) -> list[Term]:
    """Return the digits, the slowest first, with contiguous ones merged."""
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
    """Yield plans without a Gather of several positions."""
    terms = terms_of(one)
    if any(term.stride is None for term in terms):
        return
    starts_of_axes = set(accumulate(reversed(source), mul))
    ends_of_axes = set(accumulate(reversed(one.shape), mul))
    by_source = _split(terms, starts_of_axes, lambda term, _: term.stride or 1)
    variants = [
        terms,
        by_source,
        _split(terms, ends_of_axes, _result_stride),
        _split(by_source, ends_of_axes, _result_stride),
    ]
    for refined in dict.fromkeys(map(tuple, variants)):
        yield from _strided_by(refined, one, source)


def _result_stride(_term: Term, behind: int) -> int:
    return behind


def _split(terms: Iterable[Term], ends: set[int], start: Callable[[Term, int], int]) -> list[Term]:
    """Return the terms, split at boundaries between axes.

    Args:
        terms: terms with strides.
        ends: boundaries in elements, of the source or of the result.
        start: function of a term and its stride in the result that returns its stride in the tensor of the boundaries.
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
    transposed = Transpose(tuple(places))
    whole, taken = Reshape(tuple(d.size for d in dimensions)), Reshape(tuple(d.taken for d in dimensions))
    sliced = [position for position, dimension in enumerate(dimensions) if dimension.taken != dimension.size]
    if not sliced:
        yield tidied([whole, transposed, result], source)
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
        yield tidied([Reshape(view), cut, taken, transposed, result], source)
        if len(axes) == 1 and cut.stops[0] - cut.starts[0] == 1:
            yield tidied([Reshape(view), gather(axes[0], np.asarray(cut.starts[0])), taken, transposed, result], source)
    cut = Slice(tuple(places.index(position) for position in sliced), starts, stops)
    yield tidied([whole, transposed, cut, result], source)


def _with_ones(
    dimensions: Sequence[_Dimension], places: Sequence[int], shape: tuple[int, ...]
) -> tuple[list[_Dimension], list[int]]:
    """Return dimensions with an axis of size 1 for each that the result has, and their order in the result."""
    made, left = list(dimensions), iter(places)
    wanted = [dimensions[next(left)] if size > 1 else None for size in shape]
    ordered: list[_Dimension] = []
    for position in reversed(range(len(shape))):
        dimension = wanted[position]
        if dimension is None:
            dimension = _Dimension(1, 0, 1, Term(1, None, (-1 - position,)))
            before = made.index(ordered[0]) if ordered else len(made)
            made.insert(before, dimension)
        ordered.insert(0, dimension)
    return made, [made.index(dimension) for dimension in ordered]


def _dimensions(terms: Sequence[Term], base: int, source: tuple[int, ...]) -> list[_Dimension] | None:
    """Return the axes to which a source is reshaped so that each term indexes one axis; None if there are none.

    If all elements that a term reads lie at one position of an axis of the source, that axis stays a separate axis.
    """
    dimensions = []
    above = prod(source)
    ends = sorted(set(accumulate(reversed(source), mul)), reverse=True)
    for term in sorted(terms, key=lambda term: -(term.stride or 0)):
        stride = term.stride
        assert stride is not None, "checked by `strided`"
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
    """Return the axes of a shape that begin with the sliced dimensions; None if a dimension has no separate axis."""
    axes = []
    for position in sliced:
        above = prod(dimension.size for dimension in dimensions[:position])
        found = [axis for axis, size in enumerate(shape) if size > 1 and prod(shape[:axis]) == above]
        if not found or shape[found[0]] % dimensions[position].size:
            return None
        axes.append(found[0])
    return tuple(axes) if len(set(axes)) == len(axes) else None
