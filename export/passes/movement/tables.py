"""Factoring of tables of integers into sums of strides and smaller tables."""

from typing import Any

import numpy as np

Integers = np.ndarray[Any, Any]
Summand = tuple[tuple[int, ...], Integers]
"""Axes of a factored table that a summand depends on, and its values; the first value is 0."""


def add_outer(first: Integers, second: Integers) -> Integers:
    """Return the outer sum of two arrays, with the axes of the first before those of the second."""
    return np.asarray(first.reshape(*first.shape, *[1] * second.ndim) + second)


def progression_step(numbers: Integers) -> int | None:
    """Return the step of an arithmetic progression; None for other sequences."""
    if len(numbers) == 1:
        return 0
    step = int(numbers[1] - numbers[0])
    return step if bool((np.diff(numbers) == step).all()) else None


def factors_of(table: Integers) -> tuple[int, list[list[int]], list[Summand]]:
    """Factor a table into a sum of a number and arrays of as few axes as possible; axes are split where that helps.

    Returns:
        The first number of the table, the sizes into which each axis is split, and the summands, which refer to axes by
        position among all these sizes. The table is the broadcast sum of the number and the summands.
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
        parts = _split_line(single[axis]) if axis in single else [(table.shape[axis], None)]
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


def _split_line(line: Integers) -> list[tuple[int, Integers]]:
    """Split a list of numbers that begins with 0 into summands for as many digits as possible, the slowest first."""
    if progression_step(line) is not None:
        return [(len(line), line)]
    for inner in range(2, len(line) // 2 + 1):
        if len(line) % inner:
            continue
        rows = line.reshape(-1, inner)
        if bool((rows - rows[:, :1] == rows[0]).all()):
            return [*_split_line(rows[:, 0].copy()), *_split_line(rows[0].copy())]
    return [(len(line), line)]
