"""Digits of index maps (`export.passes.movement.index_map`), and operations that split, join and index them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from export.passes.movement.tables import Integers, add_outer, factors_of, progression_step

Digit = int
"""Identifier of a digit. Sizes, strides and tables refer to a digit by its identifier."""

LARGEST_TABLE = 2**20
"""Largest number of integers in a table. A Gather would store indices of the same size."""


class DeclinedError(Exception):
    """A map was declined; the message states the reason. It is caught inside `export.passes.movement`."""


class Table(NamedTuple):
    """Lookup table of offsets for several digits that do not contribute independently.

    Attributes:
        digits: the digit of each axis of `offsets`.
        offsets: integers; each axis has the size of its digit.
    """

    digits: tuple[Digit, ...]
    offsets: Integers


_ids = itertools.count()


@dataclass
class Digits:
    """Digits of a map under construction.

    Attributes:
        sizes: number of values of each digit.
        strides: strides of the digits that are in no table.
        tables: tables of all other digits; each digit is in one of them.
        base: offset of the first element.
        batch: see `IndexMap`.
    """

    sizes: dict[Digit, int]
    strides: dict[Digit, int]
    tables: list[Table]
    base: int
    batch: int | None

    def add(self, size: int, stride: int) -> Digit:
        """Add a digit with a stride."""
        digit = next(_ids)
        self.sizes[digit], self.strides[digit] = size, stride
        return digit

    def add_table(self, sizes: Sequence[int], offsets: Integers, beside: tuple[Digit, ...] = ()) -> tuple[Digit, ...]:
        """Add a table of new digits, the first axes of `offsets`, and existing digits, `beside`, its last axes."""
        made = tuple(next(_ids) for _ in sizes)
        self.sizes.update(zip(made, sizes, strict=True))
        table = Table((*made, *beside), offsets)
        if offsets.size > LARGEST_TABLE:
            raise DeclinedError(f"the index would have {offsets.size} integers")
        if self.batch is not None and any(self.sizes[digit] % self.batch == 0 for digit in table.digits):
            raise DeclinedError("the index would depend on the batch size")
        self.tables.append(table)
        return made

    def remove(self, digit: Digit) -> None:
        """Remove a digit's stride or table; other digits in the table lose their offsets too."""
        self.strides.pop(digit, None)
        self.tables = [table for table in self.tables if digit not in table.digits]

    def table_of(self, digits: Sequence[Digit]) -> Table:
        """Remove digits, and return one table for them and all digits that share a table with them."""
        known = [table for table in self.tables if set(table.digits) & set(digits)]
        inside = {digit for table in known for digit in table.digits}
        single = [digit for digit in digits if digit not in inside]
        known += [Table((digit,), self.strides[digit] * np.arange(self.sizes[digit])) for digit in single]
        whole = known[0]
        for table in known[1:]:
            if whole.offsets.size * table.offsets.size > LARGEST_TABLE:
                raise DeclinedError(f"the index would have {whole.offsets.size * table.offsets.size} integers")
            whole = Table((*whole.digits, *table.digits), add_outer(whole.offsets, table.offsets))
        for digit in whole.digits:
            self.remove(digit)
        return whole

    def join(self, digits: Sequence[Digit]) -> Digit:
        """Replace consecutive digits by one."""
        if len(digits) == 1:
            return digits[0]
        steps = [self.strides[digit] for digit in digits if digit in self.strides]
        size = prod(self.sizes[digit] for digit in digits)
        if len(steps) == len(digits) and all(
            outer == inner * self.sizes[digit]
            for (outer, inner), digit in zip(itertools.pairwise(steps), digits[1:], strict=True)
        ):
            return self.add(size, steps[-1])
        table = self.table_of(digits)
        others = tuple(digit for digit in table.digits if digit not in digits)
        order = [table.digits.index(digit) for digit in (*digits, *others)]
        offsets = table.offsets.transpose(order).reshape(size, *(self.sizes[digit] for digit in others))
        return self.add_table((size,), offsets, others)[0]

    def split(self, digit: Digit, sizes: tuple[int, int]) -> tuple[Digit, Digit]:
        """Replace a digit by two."""
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
        """Replace a digit by those of Gather's result: one for each axis of `index` with a size above 1."""
        table = self.table_of((digit,))
        others = tuple(other for other in table.digits if other != digit)
        offsets = np.moveaxis(table.offsets, table.digits.index(digit), 0)[index.reshape(-1)]
        sizes = [size for size in index.shape if size > 1]
        offsets = offsets.reshape([*sizes, *offsets.shape[1:]])
        if offsets.ndim == 0:
            self.base += int(offsets)
            return ()
        if len(sizes) == 1 and not others and (stride := progression_step(offsets)) is not None:
            self.base += int(offsets[0])
            return (self.add(sizes[0], stride),)
        return self.add_table(sizes, offsets, others)

    def factor(self, table: Table) -> dict[Digit, tuple[Digit, ...]]:
        """Replace a table by its summands, and return the digits that replace each of its digits."""
        self.tables = [one for one in self.tables if one is not table]
        base, parts, summands = factors_of(table.offsets)
        self.base += base
        names = [[next(_ids) for _ in sizes] for sizes in parts]
        flat = [name for axis in names for name in axis]
        self.sizes.update(zip(flat, (size for sizes in parts for size in sizes), strict=True))
        for where, offsets in summands:
            stride = progression_step(offsets) if len(where) == 1 else None
            if stride is not None:
                self.strides[flat[where[0]]] = stride
            else:
                self.tables.append(Table(tuple(flat[position] for position in where), offsets))
        return {digit: tuple(axis) for digit, axis in zip(table.digits, names, strict=True)}
