"""Buffers that a network computes from its sizes, compared with those in a checkpoint to find its training sizes.

A table or an MLP over offsets may have a shape that fits other sizes; an index, coordinates or a mask do not.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from models.sources.base import SourceError

INDEX, COORDINATES, MASK = "relative_position_index", "relative_coords_table", "attn_mask"
COMPUTED = (INDEX, COORDINATES, MASK)
"""Last name components of buffers that checkpoints may contain and that networks compute themselves."""

_TOLERANCE = 0.01  # half precision changes coordinates by 0.002; windows 12 and 24 differ by 0.3


def is_computed(key: str) -> bool:
    """Return whether a key names one of the `COMPUTED` buffers."""
    return key.rpartition(".")[2] in COMPUTED


def without_computed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` without the buffers that networks compute themselves."""
    return {key: tensor for key, tensor in state.items() if not is_computed(key)}


def check_buffers(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], origin: Path | str) -> None:
    """Compare the buffers of a checkpoint with those that the network computes.

    Args:
        theirs: buffers of the checkpoint, under the network's keys.
        ours: buffers of the network, computed for its sizes.
        origin: the checkpoint, for errors.

    Raises:
        SourceError: they differ, so the network was trained at other sizes.
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
            "Its windows were fine-tuned from other windows: give those, one for each stage, by "
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
    if kind == MASK:  # masked entries may be −100, another number or −inf
        a, b = (a != 0).double(), (b != 0).double()
    return float((a - b).abs().max()) <= _TOLERANCE


def _side(kind: str, tensor: Tensor) -> int | None:
    """Return the side of a buffer's square window or grid, if its shape determines it."""
    if kind == COORDINATES and tensor.ndim == 4 and tensor.shape[1] == tensor.shape[2]:
        return (tensor.shape[1] + 1) // 2
    tokens = tensor.shape[-1] if tensor.ndim > 1 else math.isqrt(tensor.numel())
    side = math.isqrt(tokens)
    return side if kind == INDEX and side * side in (tokens, tokens - 1) else None


def _shown(kind: str, tensor: Tensor) -> str:
    side = _side(kind, tensor)
    return "" if side is None else f" ({side}×{side} tokens)"
