"""Factoring of tables of integers into sums of smaller ones: strides, and tables that must be looked up."""

from typing import Any

import numpy as np

Integers = np.ndarray[Any, Any]
Summand = tuple[tuple[int, ...], Integers]
"""The axes of a factored table that a summand has, and the summand, 0 at the first place."""


def add_outer(first: Integers, second: Integers) -> Integers:
    """Return the sums of each number of one array with each of another, the axes of the first before the others."""
    return np.asarray(first.reshape(*first.shape, *[1] * second.ndim) + second)


def line_through(numbers: Integers) -> int | None:
    """Return the one difference between all numbers that follow each other; None if there are several."""
    if len(numbers) == 1:
        return 0
    step = int(numbers[1] - numbers[0])
    return step if bool((np.diff(numbers) == step).all()) else None


def factors_of(table: Integers) -> tuple[int, list[list[int]], list[Summand]]:
    """Return a table as a number plus summands of as few axes as possible, after its axes are split where that helps.

    Returns:
        The first number; the sizes that each axis is split into; the summands, by position among all those sizes. The
        table is the sum of all of it, broadcast.
    """
    base = int(table.reshape(-1)[0])
    left = table - base
    single: dict[int, Integers] = {}
    for axis in range(table.ndim):
        line = left[tuple(slice(None) if position == axis else 0 for position in range(table.ndim))]
        rest = left - line.reshape([-1 if position == axis else 1 for position in range(table.ndim)])
        if not (rest - rest.take([0], axis=axis)).any():
            single[axis] = line.copy()
            left = rest
    sizes: list[list[int]] = []
    summands: list[Summand] = []
    together: list[int] = []
    position = 0
    for axis in range(table.ndim):
        parts = _digits_of(single[axis]) if axis in single else [(table.shape[axis], None)]
        sizes.append([size for size, _ in parts])
        for offset, (_, numbers) in enumerate(parts):
            if numbers is None:
                together.append(position + offset)
            else:
                summands.append(((position + offset,), numbers))
        position += len(parts)
    if together:
        kept = left[tuple(0 if axis in single else slice(None) for axis in range(table.ndim))]
        summands.append((tuple(together), kept))
    return base, sizes, summands


def _digits_of(line: Integers) -> list[tuple[int, Integers]]:
    """Return a row of numbers, 0 first, as a sum over as many digits as possible, the slowest first."""
    if line_through(line) is not None:
        return [(len(line), line)]
    for inner in range(2, len(line) // 2 + 1):
        if len(line) % inner:
            continue
        rows = line.reshape(-1, inner)
        if bool((rows - rows[:, :1] == rows[0]).all()):
            return [*_digits_of(rows[:, 0].copy()), *_digits_of(rows[0].copy())]
    return [(len(line), line)]
