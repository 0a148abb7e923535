"""GIF (87a, 89a): the first frame, at its position on the canvas, over white."""

import struct
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.errors import NotAnImageError, cut_off, damaged
from imaging.formats.codec import run_codec
from imaging.formats.colours import look_up
from imaging.formats.picture import Picture

_MAX_BLOCKS = 100_000
"""Maximum number of extension sub-blocks before the first frame, each a step in Python: 25 MB of comments."""


@dataclass(frozen=True)
class _Frame:
    screen: tuple[int, int]
    box: tuple[int, int, int, int]
    palette: NDArray[np.uint8]
    interlaced: bool
    code_size: int
    blocks: memoryview


def read_gif(data: bytes) -> Picture:
    """Read the first frame of a GIF file.

    Raises:
        NotAnImageError: the file is damaged, truncated, or has too many comments before its first frame.
    """
    try:
        frame = _first_frame(data)
    except (struct.error, IndexError) as error:
        raise cut_off() from error
    return Picture(*frame.screen, bytes_per_pixel=8, load=partial(_load, frame))


def _first_frame(data: bytes) -> _Frame:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position, palette = _read_palette(data, 13, flags)
    transparent: int | None = None
    blocks = 0
    while (kind := data[position]) != 0x2C:
        if kind == 0x21:
            if data[position + 1] == 0xF9 and data[position + 2] >= 4:
                transparent = data[position + 6] if data[position + 3] & 1 else None
            position += 2
            while size := data[position]:
                position += 1 + size
                blocks += 1
                if blocks > _MAX_BLOCKS:
                    raise NotAnImageError("the GIF has megabytes of comments before its first frame; save it again")
            position += 1
        elif kind == 0x3B:
            raise NotAnImageError("the GIF has no frame; send one with a frame")
        elif kind == 0:
            blocks += 1
            position += 1
            if blocks > _MAX_BLOCKS:
                raise cut_off()
        else:
            raise damaged(f"{kind:#04x} is not the start of a block")
    left, top, across, down, flags = struct.unpack_from("<HHHHB", data, position + 1)
    if not across or not down:
        raise NotAnImageError("the GIF's first frame has no pixels; save it again")
    position, own = _read_palette(data, position + 10, flags)
    colours = own if own is not None else palette
    if colours is None:
        colours = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], 3, axis=1)
    colours = np.vstack([colours, np.zeros((256 - len(colours), 3), np.uint8)])
    if transparent is not None:
        colours[transparent] = 255
    return _Frame(
        screen=(max(width, left + across), max(height, top + down)),
        box=(left, top, left + across, top + down),
        palette=colours,
        interlaced=bool(flags & 0x40),
        code_size=data[position],
        blocks=memoryview(data)[position + 1 :],
    )


def _read_palette(data: bytes, position: int, flags: int) -> tuple[int, NDArray[np.uint8] | None]:
    """Return the end position of a palette, and its colours, uint8 [n, 3], or None."""
    if not flags & 0x80:
        return position, None
    end = position + 3 * 2 ** ((flags & 7) + 1)
    if end > len(data):
        raise cut_off()
    return end, np.frombuffer(data[position:end], np.uint8).reshape(-1, 3)


def _load(frame: _Frame) -> Image.Image:
    left, top, right, bottom = frame.box
    if not 1 <= frame.code_size <= 12:
        raise damaged(f"codes of {frame.code_size} bits")
    indices = Image.new("P", (right - left, bottom - top), None)
    run_codec(indices, "gif", (frame.code_size, int(frame.interlaced), -1), [frame.blocks])
    pixels = look_up(indices, frame.palette)
    if (left, top, right, bottom) == (0, 0, *frame.screen):
        return pixels
    screen = Image.new("RGB", frame.screen, "white")
    screen.paste(pixels, (left, top))
    return screen
