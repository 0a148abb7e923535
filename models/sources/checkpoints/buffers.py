"""Buffers that a network computes from its sizes, and that checkpoints of the authors hold: what training had.

A table or a network over offsets fits other sizes by its shape; an index, coordinates or a mask do not.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from models.sources.base import SourceError

INDEX, COORDINATES, MASK = "relative_position_index", "relative_coords_table", "attn_mask"
COMPUTED = (INDEX, COORDINATES, MASK)
"""Last parts of the names of buffers that checkpoints may hold, and that every network computes for itself."""

_TOLERANCE = 0.01  # coordinates in half precision are off by 0.002; those of windows 12 and 24 by 0.3


def is_computed(key: str) -> bool:
    """Return whether a tensor is one of `COMPUTED`, by its key."""
    return key.rpartition(".")[2] in COMPUTED


def without_computed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` without the buffers that every network computes for itself."""
    return {key: tensor for key, tensor in state.items() if not is_computed(key)}


def check_buffers(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], origin: Path | str) -> None:
    """Compare the buffers of a checkpoint with those that the network computes.

    Args:
        theirs: the checkpoint's, under the network's keys.
        ours: what the network computes for the sizes that it has.
        origin: the checkpoint, for errors.

    Raises:
        SourceError: they differ, so training had other sizes.
    """
    for key, tensor in theirs.items():
        kind = key.rpartition(".")[2]
        mine = ours.get(key)
        if mine is not None and _alike(kind, tensor, mine):
            continue
        has = "none" if mine is None else f"{list(mine.shape)}{_shown(kind, mine)}"
        same = " with other values" if mine is not None and mine.shape == tensor.shape else ""
        raise SourceError(
            f"{origin} was trained at other sizes: its {key} is {list(tensor.shape)}{_shown(kind, tensor)}{same}, the "
            f"network's is {has}. {_advice(kind, tensor, alike=bool(same))}"
        )


def _advice(kind: str, theirs: Tensor, *, alike: bool) -> str:
    side = _side(kind, theirs) or "N"
    if kind == MASK:
        return "Give the image size of training by --trained-image-size N|HxW, its window by --trained-window-size N"
    if kind == COORDINATES and alike:
        return (
            "Its windows were themselves fine-tuned from others: give these, one for each stage, by "
            "--model-arg pretrained_window_sizes=[…]"
        )
    return (
        f"Give the size of training: --trained-window-size {side} for windows, --trained-image-size N|HxW for a table "
        "over the whole image"
    )


def _alike(kind: str, theirs: Tensor, ours: Tensor) -> bool:
    if theirs.numel() != ours.numel():
        return False
    a, b = theirs.flatten().double(), ours.flatten().double()
    if kind == MASK:  # −100 here, another number or −inf there
        a, b = (a != 0).double(), (b != 0).double()
    return float((a - b).abs().max()) <= _TOLERANCE


def _side(kind: str, tensor: Tensor) -> int | None:
    """Return the side of the square window or grid that a buffer belongs to, where its shape shows it."""
    if kind == COORDINATES and tensor.ndim == 4 and tensor.shape[1] == tensor.shape[2]:
        return (tensor.shape[1] + 1) // 2
    tokens = tensor.shape[-1] if tensor.ndim > 1 else math.isqrt(tensor.numel())
    side = math.isqrt(tokens)
    return side if kind == INDEX and side * side in (tokens, tokens - 1) else None


def _shown(kind: str, tensor: Tensor) -> str:
    side = _side(kind, tensor)
    return "" if side is None else f" ({side}×{side} tokens)"
