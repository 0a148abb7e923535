"""Digits of index maps (see `export.passes.movement.index_map`), and operations that split, join and index them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from export.passes.movement.tables import Integers, add_outer, factors_of, line_through

Digit = int
"""Digits are distinguished by number: the same digit may be in a table of several."""

LARGEST_TABLE = 2**20
"""Most integers in a table. Larger ones are declined, because the index of a Gather would be as large."""


class DeclinedError(Exception):
    """A map was declined; the message states the reason. It is never raised outside `export.passes.movement`."""


class Table(NamedTuple):
    """Summand of the offset that depends on several digits together.

    Attributes:
        digits: one for each axis of `offsets`.
        offsets: integers, as many along each axis as the digit has values.
    """

    digits: tuple[Digit, ...]
    offsets: Integers


_numbers = itertools.count()


@dataclass
class Digits:
    """Digits of a map under construction.

    Attributes:
        sizes: number of values of each digit.
        strides: strides of the digits that are in no table.
        tables: tables of all others; each is in one.
        base: offset of the first element.
        batch: as in `IndexMap`.
    """

    sizes: dict[Digit, int]
    strides: dict[Digit, int]
    tables: list[Table]
    base: int
    batch: int | None

    def add(self, size: int, stride: int) -> Digit:
        """Add a digit with a stride."""
        digit = next(_numbers)
        self.sizes[digit], self.strides[digit] = size, stride
        return digit

    def add_table(self, sizes: Sequence[int], offsets: Integers, beside: tuple[Digit, ...] = ()) -> tuple[Digit, ...]:
        """Add digits that are looked up together, before the axes of `offsets` that belong to digits already there."""
        made = tuple(next(_numbers) for _ in sizes)
        self.sizes.update(zip(made, sizes, strict=True))
        table = Table((*made, *beside), offsets)
        if offsets.size > LARGEST_TABLE:
            raise DeclinedError(f"a table of {offsets.size} integers")
        if self.batch is not None and any(self.sizes[digit] % self.batch == 0 for digit in table.digits):
            raise DeclinedError("images would be looked up one by one")
        self.tables.append(table)
        return made

    def forget(self, digit: Digit) -> None:
        """Remove a digit from the offset, with all digits in its table."""
        self.strides.pop(digit, None)
        self.tables = [table for table in self.tables if digit not in table.digits]

    def table_of(self, digits: Sequence[Digit]) -> Table:
        """Take the digits out, and return one table of them and all that they were looked up together with."""
        known = [table for table in self.tables if set(table.digits) & set(digits)]
        inside = {digit for table in known for digit in table.digits}
        lone = [digit for digit in digits if digit not in inside]
        known += [Table((digit,), self.strides[digit] * np.arange(self.sizes[digit])) for digit in lone]
        whole = known[0]
        for table in known[1:]:
            if whole.offsets.size * table.offsets.size > LARGEST_TABLE:
                raise DeclinedError(f"a table of {whole.offsets.size * table.offsets.size} integers")
            whole = Table((*whole.digits, *table.digits), add_outer(whole.offsets, table.offsets))
        for digit in whole.digits:
            self.forget(digit)
        return whole

    def join(self, digits: Sequence[Digit]) -> Digit:
        """Return one digit in place of several that follow each other."""
        if len(digits) == 1:
            return digits[0]
        steps = [self.strides.get(digit) for digit in digits]
        size = prod(self.sizes[digit] for digit in digits)
        if None not in steps and all(
            outer == inner * self.sizes[digit]
            for outer, inner, digit in zip(steps, steps[1:], digits[1:], strict=False)
            if outer is not None and inner is not None
        ):
            last = steps[-1]
            assert last is not None, "asked above"
            return self.add(size, last)
        table = self.table_of(digits)
        others = tuple(digit for digit in table.digits if digit not in digits)
        order = [table.digits.index(digit) for digit in (*digits, *others)]
        offsets = table.offsets.transpose(order).reshape(size, *(self.sizes[digit] for digit in others))
        return self.add_table((size,), offsets, others)[0]

    def split(self, digit: Digit, sizes: tuple[int, int]) -> tuple[Digit, Digit]:
        """Return two digits in place of one."""
        if digit in self.strides:
            stride = self.strides[digit]
            return self.add(sizes[0], stride * sizes[1]), self.add(sizes[1], stride)
        table = next(table for table in self.tables if digit in table.digits)
        position = table.digits.index(digit)
        others = tuple(other for other in table.digits if other != digit)
        first = np.moveaxis(table.offsets, position, 0)
        self.tables = [one for one in self.tables if one is not table]
        outer, inner = self.add_table(sizes, first.reshape(*sizes, *first.shape[1:]), others)
        return outer, inner

    def index(self, digit: Digit, index: Integers) -> tuple[Digit, ...]:
        """Return digits in place of one, of which `index` chooses values; none where it chooses one."""
        table = self.table_of((digit,))
        others = tuple(other for other in table.digits if other != digit)
        offsets = np.moveaxis(table.offsets, table.digits.index(digit), 0)[index.reshape(-1)]
        sizes = [size for size in index.shape if size > 1]
        offsets = offsets.reshape([*sizes, *offsets.shape[1:]])
        if offsets.ndim == 0:
            self.base += int(offsets)
            return ()
        if len(sizes) == 1 and not others and (stride := line_through(offsets)) is not None:
            self.base += int(offsets[0])
            return (self.add(sizes[0], stride),)
        return self.add_table(sizes, offsets, others)

    def factor(self, table: Table) -> dict[Digit, tuple[Digit, ...]]:
        """Put what a table is the sum of in its place, and return the digits that each of its digits became."""
        self.tables = [one for one in self.tables if one is not table]
        base, parts, summands = factors_of(table.offsets)
        self.base += base
        names = [[next(_numbers) for _ in sizes] for sizes in parts]
        flat = [name for axis in names for name in axis]
        self.sizes.update(zip(flat, (size for sizes in parts for size in sizes), strict=True))
        for where, offsets in summands:
            stride = line_through(offsets) if len(where) == 1 else None
            if stride is not None:
                self.strides[flat[where[0]]] = stride
            else:
                self.tables.append(Table(tuple(flat[position] for position in where), offsets))
        return {digit: tuple(axis) for digit, axis in zip(table.digits, names, strict=True)}
