"""Index maps: the position of each element of a tensor in its source tensor.

The index along an axis is a mixed-radix number with one or more *digits*: axis 1 of [B, 56, 56, C], split into windows
of 7, has the digits (8, 7). The offset of an element in the flattened source is `base` plus `stride · digit` for each
digit. Where strides cannot express it (cyclic shifts), a *table* of integers gives the offset for one or several
digits. A map holds at most as many integers as an image has tokens, never batch · tokens · channels, and is exact for
every data-movement operator.
"""

from collections.abc import Iterable, Sequence
from math import prod

import numpy as np

from export.passes.movement.digits import DeclinedError, Digit, Digits, Table
from export.passes.movement.tables import Integers


class IndexMap:
    """Map from the elements of a tensor to those of its source.

    Args:
        axes: the digits of each axis, the slowest first; an axis of size 1 has none.
        sizes: number of values of each digit, at least 2.
        strides: strides of the digits that are in no table.
        tables: tables of all other digits; each digit is in one of them.
        base: offset of the first element.
        batch: the distinctive batch size that the graph was traced with; None if the graph keeps its batch size. No
            digit of a table may have a multiple of it as its size: the table would depend on the batch size.
    """

    def __init__(
        self,
        axes: Sequence[tuple[Digit, ...]],
        sizes: dict[Digit, int],
        strides: dict[Digit, int],
        tables: Sequence[Table] = (),
        base: int = 0,
        batch: int | None = None,
    ) -> None:
        self.axes = tuple(axes)
        self.tables = tuple(tables)
        self.base = base
        self.batch = batch
        used = [digit for axis in self.axes for digit in axis]
        self.sizes = {digit: sizes[digit] for digit in used}
        self.strides = {digit: strides[digit] for digit in used if digit in strides}

    @staticmethod
    def identity(shape: Sequence[int], batch: int | None = None) -> "IndexMap":
        """Return the map from a tensor to itself."""
        work = Digits({}, {}, [], 0, batch)
        strides = [prod(shape[position + 1 :]) for position in range(len(shape))]
        axes = [(work.add(size, stride),) if size > 1 else () for size, stride in zip(shape, strides, strict=True)]
        return _map(work, axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(prod(self.sizes[digit] for digit in axis) for axis in self.axes)

    @property
    def digits(self) -> tuple[Digit, ...]:
        """All digits, the slowest first."""
        return tuple(digit for axis in self.axes for digit in axis)

    def along(self, axis: int) -> Integers | None:
        """Return the offsets along an axis, without `base`; None if a table depends on another axis too."""
        digits = self.axes[axis]
        total = np.zeros([self.sizes[digit] for digit in digits], np.int64)
        for table in self._all_tables():
            if not set(table.digits) & set(digits):
                continue
            if not set(table.digits) <= set(digits):
                return None
            where = [digits.index(digit) for digit in table.digits]
            shape = [self.sizes[digit] if position in where else 1 for position, digit in enumerate(digits)]
            total += table.offsets.transpose(np.argsort(where)).reshape(shape)
        return total.reshape(-1)

    def reshape(self, shape: Sequence[int]) -> "IndexMap":
        """Return the map after Reshape: a digit across the end of an axis is split, or joined with the next one."""
        work = self._work()
        left = list(self.digits)
        axes: list[tuple[Digit, ...]] = []
        for wanted in reversed(shape):
            axis: list[Digit] = []
            rest = wanted
            while rest > 1:
                last = left.pop()
                size = work.sizes[last]
                if rest % size == 0:
                    axis.insert(0, last)
                    rest //= size
                elif size % rest == 0:
                    outer, inner = work.split(last, (size // rest, rest))
                    left.append(outer)
                    axis.insert(0, inner)
                    rest = 1
                else:
                    left.append(work.join((left.pop(), last)))
            axes.insert(0, tuple(axis))
        assert not left, f"cannot reshape {self.shape} to {tuple(shape)}"
        return _map(work, axes)

    def transpose(self, order: Sequence[int]) -> "IndexMap":
        """Return the map after Transpose."""
        return _map(self._work(), [self.axes[axis] for axis in order])

    def take(self, axis: int, index: Integers) -> "IndexMap":
        """Return the map after Gather with constant, non-negative indices of any rank."""
        work = self._work()
        digits = self.axes[axis]
        if self.batch is not None and self.shape[axis] % self.batch == 0:
            raise DeclinedError("images are selected by index")
        if not digits:
            assert not index.any(), "an axis of size 1 has index 0"
            made: tuple[Digit, ...] = tuple(work.add(size, 0) for size in index.shape if size > 1)
        else:
            made = work.index(work.join(digits), index)
        left = iter(made)
        new = [(next(left),) if size > 1 else () for size in index.shape]
        return _map(work, [*self.axes[:axis], *new, *self.axes[axis + 1 :]])

    def slice(self, axis: int, start: int, count: int, step: int = 1) -> "IndexMap":
        """Return the map after Slice: `count` positions of an axis, the first at `start`."""
        if (start, count, step) == (0, self.shape[axis], 1):
            return self
        return self.take(axis, start + step * np.arange(count))

    @staticmethod
    def concat(maps: Sequence["IndexMap"], axis: int) -> "IndexMap":
        """Return the map after Concat of tensors from one source, whose maps may differ only along `axis`."""
        first = maps[0]
        others = [[one.along(p) for p in range(len(one.axes)) if p != axis] for one in maps]
        columns = [one.along(axis) for one in maps]
        known = [column + one.base for column, one in zip(columns, maps, strict=True) if column is not None]
        if len(known) < len(maps):
            raise DeclinedError("the positions along the concatenated axis depend on another axis")
        if not all(alike(*pair) for parts in others for pair in zip(parts, others[0], strict=True)):
            raise DeclinedError("the concatenated tensors have different layouts")
        column, work = np.concatenate(known), first._work()
        for digit in first.axes[axis]:
            work.remove(digit)
        work.base = int(column[0])
        axes = list(first.axes)
        axes[axis] = (work.add_table((len(column),), column - column[0])) if len(column) > 1 else ()
        return _map(work, axes)

    def normalised(self) -> "IndexMap":
        """Return an equal map with tables factored as far as possible, into strides or smaller tables."""
        work = self._work()
        axes = list(self.axes)
        for table in self.tables:
            for digit, parts in work.factor(table).items():
                axes = [tuple(n for d in axis for n in (parts if d == digit else (d,))) for axis in axes]
        return _map(work, axes)

    @property
    def key(self) -> tuple[object, ...]:
        """Hashable key; equal maps have equal keys."""
        digits = self.digits
        axes = tuple(tuple((self.sizes[digit], self.strides.get(digit)) for digit in axis) for axis in self.axes)
        tables = tuple((tuple(map(digits.index, table.digits)), table.offsets.tobytes()) for table in self.tables)
        return axes, tables, self.base, self.batch

    def _work(self) -> Digits:
        return Digits(dict(self.sizes), dict(self.strides), list(self.tables), self.base, self.batch)

    def _all_tables(self) -> Iterable[Table]:
        yield from self.tables
        for digit, stride in self.strides.items():
            yield Table((digit,), stride * np.arange(self.sizes[digit]))


def _map(work: Digits, axes: Sequence[tuple[Digit, ...]]) -> IndexMap:
    return IndexMap(axes, work.sizes, work.strides, work.tables, work.base, work.batch)


def alike(first: Integers | None, second: Integers | None) -> bool:
    """Return whether two results of `IndexMap.along` are known and equal."""
    return first is not None and second is not None and np.array_equal(first, second)
