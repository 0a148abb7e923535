"""Position constants as float16 files of the artifact, one window each, for display on the page.

Shapes: H heads, N tokens of a window, h × w its grid, W windows of an image.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from artifact import Constant, Constants
from export.passes.values import array_of, is_constant
from export.report.constants import PositionConstant, find_constants

MOST_BYTES = 2**26
"""Maximum size of all files in bytes: a ViT-B with 577 tokens has 96 MB of biases, most networks less than 10 MB."""

_MOST_EXTRA_TOKENS = 5

_Array = np.ndarray[Any, Any]


def store_constants(model: ir.Model, directory: Path, size: tuple[int, int], most: int = MOST_BYTES) -> Constants:
    """Write the position constants of a float32 graph in graph order; constants beyond the limit are omitted.

    Args:
        model: the graph, after its passes.
        directory: directory of the files; it is created if there are any.
        size: (height, width) of the input in pixels: the grid of an image has about its aspect ratio.
        most: maximum size of all files in bytes.

    Raises:
        OSError: a file cannot be written.
    """
    lines: list[Constant] = []
    left, omitted = most, 0
    for found, values in _with_sines(model):
        heads = values.astype("<f2")
        if heads.nbytes > left:
            omitted += 1
            continue
        left -= heads.nbytes
        directory.mkdir(exist_ok=True)
        name = _name(found.name, {line.name for line in lines})
        np.save(directory / f"{name}.npy", heads)
        grid = grid_of(found.window) if found.role == "bias" else None
        lines.append(
            Constant(
                name=name,
                role=found.role,
                shape=(heads.shape[0], heads.shape[1], heads.shape[2]),
                windows=len(found.windows),
                readers=found.readers,
                grid=grid,
                spans=None if grid is None or found.spans is None else spans_of(grid, found.spans, size),
            )
        )
    return Constants(lines=tuple(lines), omitted=omitted)


def grid_of(bias: _Array) -> tuple[int, int] | None:
    """Return the grid (h, w) on which a bias [H, N, N] depends only on the offset of two tokens; None if there is none.

    Up to five prefix tokens may precede the grid. Of several grids, the one nearest to a square is returned. A bias
    that is constant or depends only on the distance in row-major order has no grid, because every grid would fit.
    """
    _, rows, columns = bias.shape
    if rows != columns:
        return None
    for extra in range(min(rows - 3, _MOST_EXTRA_TOKENS + 1)):
        patches = bias[:, extra:, extra:]
        if _is_function_of(patches, _offsets(1, rows - extra)):  # one-dimensional or constant
            continue
        for grid in _grids(rows - extra):
            if _is_function_of(patches, _offsets(*grid)):
                return grid
    return None


def _is_function_of(bias: _Array, offsets: _Array) -> bool:
    """Return whether a bias [H, N, N] has, in each head, one number for each value of `offsets` [N, N]."""
    index, flat = offsets.ravel(), bias.reshape(len(bias), -1)
    table = np.zeros((len(bias), index.max() + 1), bias.dtype)
    table[:, index] = flat
    return np.array_equal(table[:, index], flat)


def spans_of(grid: tuple[int, int], windows: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the (rows, columns) of windows whose tokens have the aspect ratio of the image; None if none fit."""
    for rows in range(1, windows + 1):
        columns = windows // rows
        if rows * columns == windows and rows * grid[0] * size[1] == columns * grid[1] * size[0]:
            return rows, columns
    return None


def _grids(tokens: int) -> Iterator[tuple[int, int]]:
    """Yield the grids (height, width) of a number of tokens, the most square first."""
    for side in range(math.isqrt(tokens), 0, -1):
        if tokens % side == 0:
            yield side, tokens // side
            if side * side != tokens:
                yield tokens // side, side


def _offsets(height: int, width: int) -> _Array:
    """Return the index of the (row, column) offset between two tokens, [N, N]."""
    rows, columns = np.divmod(np.arange(height * width), width)
    down, right = rows[:, None] - rows + height - 1, columns[:, None] - columns + width - 1
    index: _Array = down * (2 * width - 1) + right
    return index


def _with_sines(model: ir.Model) -> Iterator[tuple[PositionConstant, _Array]]:
    """Yield each position constant with its values; the cosines of a rotation are followed by its sines."""
    for found in find_constants(model):
        yield found, found.window
        sine = model.graph.initializers.get(re.sub(r"\.cos$", ".sin", found.name))
        if found.role == "rotation" and sine is not None and is_constant(sine) and sine.name != found.name:
            values = array_of(sine)
            if values.shape == found.shape:
                yield replace(found, name=str(sine.name)), values.reshape(found.window.shape)


def _name(name: str, taken: set[str]) -> str:
    """Return an unused file name, without suffix, for a name of the graph."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".-")[:180] or "constant"
    return next(
        found for number in range(len(taken) + 1) if (found := f"{plain}_{number}" if number else plain) not in taken
    )
