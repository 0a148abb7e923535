"""Pictures of the position constants of a graph: for each, a row of heat maps, one a head."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from export.report.constants import PositionConstant, Role, find_constants
from export.report.heat_maps import SIDE, encode, is_masked, largest, shrink

HEADS = 16
"""Shown of one constant."""

MAPS = 240
"""Shown on a page: of 64 × 64 pixels each, with a byte a pixel, less than 2 MB in base64."""

TOKENS = 1024
"""Compared with each other, of an embedding: the table of all pairs would need memory for the square of them."""

_SHOWN_SIDE = 96
"""CSS pixels that the longer side of a map has at least."""

_WHAT: dict[Role, str] = {
    "bias": "added to the scores; rows are queries, columns keys",
    "table": "multiplied with what depends on the image",
    "rotation": "cosines that turn queries and keys; rows are tokens, columns channels",
    "embedding": "added to the tokens; shown is the cosine between any two of them, their mean taken off",
}

_HALF_A_PAGE = 500
"""CSS pixels that a row of maps may have beside another."""

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class HeatMap:
    """One picture.

    Attributes:
        source: a `data:` URI.
        title: what stands below it.
        text: description for screen readers.
        width, height: in CSS pixels, a multiple of its own.
    """

    source: str
    title: str
    text: str
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """A constant, drawn.

    Attributes:
        name: name of the initialiser.
        what: what the graph does with it.
        shape: shape of the constant.
        notes: what was left out or averaged.
        limit: the magnitude at both ends of the scale.
        has_mask: whether something in it is masked.
        maps: one a head.
    """

    name: str
    what: str
    shape: tuple[int, ...]
    notes: tuple[str, ...]
    limit: float
    has_mask: bool
    maps: tuple[HeatMap, ...]

    @property
    def is_wide(self) -> bool:
        """True if its maps need the whole width of a page."""
        return sum(drawn.width for drawn in self.maps) > _HALF_A_PAGE


@dataclass(frozen=True)
class Gallery:
    """Drawings of a graph, and the number of constants that there was no room for."""

    pictures: tuple[Picture, ...] = ()
    left_out: int = 0


def draw_constants(model: ir.Model) -> Gallery:
    """Draw the position constants of a float32 graph, at most `MAPS` maps in all and `HEADS` of one constant."""
    constants = find_constants(model)
    drawn = constants[:MAPS]
    heads = min(HEADS, MAPS // max(len(drawn), 1))
    return Gallery(tuple(_draw(constant, heads) for constant in drawn), len(constants) - len(drawn))


def _draw(constant: PositionConstant, most: int) -> Picture:
    window, heads = constant.shown, constant.window
    shown = heads[:most]
    if constant.role == "embedding":
        shown = _similarity(shown[0, :: _step(constant)])[None]
    limit = 1.0 if constant.role in {"embedding", "rotation"} else largest(shown)
    titles = [f"head {head}" for head in range(1, len(shown) + 1)] if len(heads) > 1 else ["all heads"]
    if constant.role == "embedding":
        titles = ["tokens × tokens"]
    return Picture(
        name=constant.name,
        what=_WHAT[constant.role],
        shape=constant.shape,
        notes=tuple(_notes(constant, window, len(heads), shown)),
        limit=limit,
        has_mask=bool(is_masked(shown).any()),
        maps=tuple(_map(values, limit, title) for values, title in zip(shown, titles, strict=True)),
    )


def _similarity(tokens: _Array) -> _Array:
    """Return the cosines [N, N] between tokens [N, C] less their mean: a bias that all share carries no information."""
    centred = tokens.astype(np.float64) - tokens.mean(axis=0, dtype=np.float64)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.where(lengths > 0, lengths, 1.0)
    cosines: _Array = unit @ unit.T
    return cosines


def _step(constant: PositionConstant) -> int:
    """Return k where every k-th token is compared with every other."""
    return -(-constant.windows.shape[2] // TOKENS) if constant.role == "embedding" else 1


def _notes(constant: PositionConstant, window: int, heads: int, shown: _Array) -> list[str]:
    notes = []
    if len(constant.windows) > 1:
        notes.append(f"window {window + 1} of {len(constant.windows)}")
    if len(shown) < heads:
        notes.append(f"{len(shown)} of {heads} heads")
    if _step(constant) > 1:
        notes.append(f"every {_step(constant)}th of {constant.windows.shape[2]} tokens")
    rows, columns = shown.shape[1:]
    if max(rows, columns) > SIDE:
        notes.append(f"{rows}×{columns} averaged to {min(rows, SIDE)}×{min(columns, SIDE)}")
    if constant.readers > 1:
        notes.append(f"read by {constant.readers} nodes")
    return notes


def _map(values: _Array, limit: float, title: str) -> HeatMap:
    small = shrink(values)
    height, width = small.shape
    times = -(-_SHOWN_SIDE // max(height, width))
    seen = values[~is_masked(values)]
    between = f"from {seen.min():.3g} to {seen.max():.3g}" if seen.size else "all masked"
    rows, columns = values.shape
    text = f"{title}: heat map of {rows} × {columns} numbers {between}"
    return HeatMap(encode(small, limit), title, text, times * width, times * height)
