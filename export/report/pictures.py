"""Heat maps of the position constants of a graph, one for each head."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from export.report.constants import PositionConstant, Role, find_constants
from export.report.heat_maps import SIDE, encode, is_masked, largest, shrink

HEADS = 16
"""Maximum number of heads shown for one constant."""

MAPS = 240
"""Maximum number of maps on a page; they take less than 2 MB in base64."""

TOKENS = 1024
"""Maximum number of tokens of an embedding whose cosines are computed; memory grows with its square."""

_SHOWN_SIDE = 96
"""Minimum length of the longer side of a map in CSS pixels."""

_WHAT: dict[Role, str] = {
    "bias": "added to the scores; rows are queries, columns keys",
    "table": "multiplied by image-dependent values",
    "rotation": "cosines that rotate queries and keys; rows are tokens, columns channels",
    "embedding": "added to the tokens; the map shows the cosines between tokens after subtraction of their mean",
}

_HALF_A_PAGE = 500
"""Maximum width, in CSS pixels, of a row of maps that fits beside another."""

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class HeatMap:
    """One heat map.

    Attributes:
        source: image as a `data:` URI.
        title: caption.
        text: description for screen readers.
        width, height: size in CSS pixels, a multiple of the image's size.
    """

    source: str
    title: str
    text: str
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """Heat maps of one constant.

    Attributes:
        name: name of the initialiser.
        what: description of its use in the graph.
        shape: shape of the constant.
        notes: omissions and averaging.
        limit: magnitude at both ends of the colour scale.
        has_mask: True if an element is masked.
        maps: heat map of each head.
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
        """True if the maps need the whole width of the page."""
        return sum(drawn.width for drawn in self.maps) > _HALF_A_PAGE


@dataclass(frozen=True)
class Gallery:
    """Heat maps of a graph, and the number of constants that are not shown."""

    pictures: tuple[Picture, ...] = ()
    left_out: int = 0


def draw_constants(model: ir.Model) -> Gallery:
    """Return heat maps of the position constants of a float32 graph, at most `MAPS` in total and `HEADS` of each."""
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
    """Return the cosines [N, N] between tokens [N, C] after subtraction of their mean."""
    centred = tokens.astype(np.float64) - tokens.mean(axis=0, dtype=np.float64)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.where(lengths > 0, lengths, 1.0)
    cosines: _Array = unit @ unit.T
    return cosines


def _step(constant: PositionConstant) -> int:
    """Return k if every k-th token is compared."""
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
