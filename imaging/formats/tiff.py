"""TIFF: the first image of a file, decoded according to its tags, or refused with the reason."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.errors import NotAnImageError, damaged
from imaging.formats.colours import (
    Bytes,
    Samples,
    blend_white,
    eight_bit_table,
    rows_of,
    stripes,
)
from imaging.formats.jpeg import MAX_WORK, decode_frame, read_frame
from imaging.formats.picture import Picture
from imaging.formats.tiff_directory import Directory
from imaging.formats.tiff_layout import (
    CMYK,
    DEFLATE,
    FAX,
    JPEG,
    NONE,
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    Layout,
    read_layout,
)
from imaging.formats.tiff_strips import Rows, part, row_bytes, samples_of, stored_height, stored_rows

_AT_ONCE = 1 << 20
"""Decompressed bytes of strips that are read together."""
_BT601 = (0.299, 0.587, 0.114)


def read_tiff(data: bytes) -> Picture:
    """Read the first image of a TIFF file.

    Raises:
        NotAnImageError: the file is damaged, truncated, or of an unsupported kind.
    """
    tags = Directory(data)
    layout = read_layout(tags)
    profile = tags.raw(34675)
    stored = -(-layout.samples * layout.bits // 8)
    whole = layout.tile_height >= layout.height and layout.compression not in {NONE, *DEFLATE}
    return Picture(
        width=layout.width,
        height=layout.height,
        bytes_per_pixel=max(8, stored + 4, 2 * stored if whole else 0),  # libtiff stores a strip twice
        load=partial(_load, data, tags, layout),
        orientation=tags.number(274, 1),
        profile=lambda: profile or None,
    )


@dataclass(frozen=True)
class _Area:
    """Consecutive strips, or a tile.

    Attributes:
        left, top: position of its first pixel.
        height: number of rows of the image.
        indices: indices of its strips or tile, for each plane.
    """

    left: int
    top: int
    height: int
    indices: list[list[int]]


def _load(data: bytes, tags: Directory, layout: Layout) -> Image.Image:
    colours = _Colours(layout, tags)
    image = Image.new(colours.mode, (layout.width, layout.height), None)
    read = _jpeg if layout.compression == JPEG else _samples
    for area in _areas(layout):
        width = min(layout.tile_width, layout.width - area.left)
        for top, samples in read(data, tags, layout, area):
            pixels = colours.convert(samples[:, :width])
            image.paste(Image.fromarray(pixels, colours.mode), (area.left, area.top + top))
    return image


def _areas(layout: Layout) -> Iterator[_Area]:
    count = layout.across * layout.down
    if layout.tiled or layout.compression == JPEG:
        for place in range(count):
            row, column = divmod(place, layout.across)
            top = row * layout.tile_height
            height = min(layout.tile_height, layout.height - top)
            indices = [[plane * count + place] for plane in range(layout.planes)]
            yield _Area(column * layout.tile_width, top, height, indices)
        return
    together = max(1, _AT_ONCE // (row_bytes(layout) * stored_height(layout, layout.tile_height)))
    for first in range(0, count, together):
        end = min(first + together, count)
        top = first * layout.tile_height
        height = min(end * layout.tile_height, layout.height) - top
        indices = [[plane * count + strip for strip in range(first, end)] for plane in range(layout.planes)]
        yield _Area(0, top, height, indices)


def _samples(data: bytes, tags: Directory, layout: Layout, area: _Area) -> Iterator[tuple[int, Samples]]:
    """Yield the top row, within the area, and the samples of some rows: [h, W, samples], with W of the tile."""
    fax = {tag: tags.number(tag, 0) for tag in (292, 293) if layout.compression in FAX and tag in tags}
    rows = stored_height(layout, layout.tile_height if layout.tiled else area.height)
    planes: list[Rows] = [stored_rows(data, layout, fax, indices, rows) for indices in area.indices]
    if layout.subsampled:
        down = layout.subsampling[1]
        for first, end in stripes(layout.tile_width * down, stored_height(layout, area.height)):
            yield first * down, _upsampled(planes[0](first, end), layout)[: area.height - first * down]
        return
    for first, end in stripes(layout.tile_width, area.height):
        found = [samples_of(plane(first, end), layout, tags.order) for plane in planes]
        samples: Samples = found[0] if len(found) == 1 else np.concatenate(found, axis=2)
        yield first, samples


def _upsampled(rows: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint8]:
    """Convert rows of blocks (across · down luminances, then Cb and Cr) to YCbCr [h · down, W, 3]."""
    across, down = layout.subsampling
    blocks = rows.reshape(len(rows), -1, across * down + 2)
    squares = blocks[..., :-2].reshape(*blocks.shape[:2], down, across)
    luminance = squares.transpose(0, 2, 1, 3).reshape(len(rows) * down, -1)
    colour = blocks[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
    return np.dstack([luminance, colour])[:, : layout.tile_width]


def _jpeg(data: bytes, tags: Directory, layout: Layout, area: _Area) -> Iterator[tuple[int, Samples]]:
    """Like `_samples`, for strips or tiles in JPEG with tables in a tag; libjpeg converts YCbCr to RGB."""
    tables = tags.raw(347)[2:-2]
    images = []
    for (index,) in area.indices:
        stream = bytes(part(data, layout, index))
        frame = read_frame(stream[:2] + tables + stream[2:], MAX_WORK / (layout.across * layout.down * layout.planes))
        channels = 1 if layout.planar else layout.samples
        if (frame.width, frame.channels) != (layout.tile_width, channels) or frame.height < area.height:
            raise damaged("a JPEG in it does not have the size of its tile")
        if frame.height > max(layout.tile_height, 8 * -(-area.height // 8)):
            raise damaged("a JPEG in it does not have the size of its tile")
        mode = {1: "L", 3: "RGB", 4: "CMYK"}[channels]
        colours = "YCbCr" if channels == 3 and layout.photometric == YCBCR else mode
        images.append(decode_frame(frame, mode, mode, colours))
    for first, end in stripes(layout.tile_width, area.height):
        yield first, np.dstack([rows_of(image, first, end) for image in images])


class _Colours:
    """Conversion of samples to 8-bit grey, RGB or CMYK, over white.

    Args:
        layout: layout of the image.
        tags: tags with its palette and the parameters of YCbCr.
    """

    def __init__(self, layout: Layout, tags: Directory) -> None:
        if layout.compression == JPEG and layout.photometric == YCBCR and not layout.planar:
            layout = replace(layout, photometric=RGB)  # converted by libjpeg
        self._layout = layout
        self.mode = {1: "L", 3: "RGB", 4: "CMYK"}[layout.channels]
        table = eight_bit_table(layout.bits)
        self._table: Bytes = table[::-1] if layout.photometric == WHITE_IS_ZERO else table
        self._alpha_table: Bytes = table
        self._as_stored = layout.bits == 8 and layout.photometric not in {WHITE_IS_ZERO, PALETTE}
        if layout.photometric == PALETTE:
            self.mode = "RGB"
            self._table = _palette(tags, layout.bits)
        self._weights = tags.fractions(529, _BT601)
        self._reference = tags.fractions(532, (0.0, 255.0, 128.0, 255.0, 128.0, 255.0))

    def convert(self, samples: Samples) -> Bytes:
        """Convert samples [h, W, samples] to uint8 [h, W] or [h, W, channels]."""
        layout = self._layout
        colours = samples[..., : layout.channels]
        if not self._as_stored:
            colours = self._table[colours]
        if layout.photometric == PALETTE:
            colours = colours[..., 0, :]
        elif layout.photometric == YCBCR:
            colours = self._from_ycbcr(colours)
        if layout.alpha is not None:
            index, premultiplied = layout.alpha
            alpha = self._alpha_table[samples[..., index]]
            if layout.photometric != CMYK:
                colours = blend_white(colours, alpha, premultiplied=premultiplied)
            elif not premultiplied:  # white means no ink
                colours = 255 - blend_white(255 - colours, alpha)
        return colours[..., 0] if self.mode == "L" else colours

    def _from_ycbcr(self, colours: Bytes) -> Bytes:
        """Convert YCbCr to RGB (TIFF 6.0, section 21)."""
        red, green, blue = self._weights
        black, white, *_ = self._reference
        values = colours.astype(np.float32)
        luminance = (values[..., 0] - black) * (255 / ((white - black) or 255))
        cb, cr = (
            (values[..., channel] - low) * (127 / ((high - low) or 127))
            for channel, low, high in zip((1, 2), self._reference[2::2], self._reference[3::2], strict=True)
        )
        made_red = luminance + cr * (2 - 2 * red)
        made_blue = luminance + cb * (2 - 2 * blue)
        made_green = (luminance - red * made_red - blue * made_blue) / (green or 1)
        made: Bytes = np.clip(np.rint(np.stack([made_red, made_green, made_blue], axis=-1)), 0, 255).astype(np.uint8)
        return made


def _palette(tags: Directory, bits: int) -> Bytes:
    """Return the palette, uint8 [2^bits, 3]. Some programs write 8-bit instead of 16-bit values."""
    found = tags.numbers(320)
    if found is None or len(found) < 3 * 2**bits:
        raise NotAnImageError("the TIFF's palette is missing or too short; save it as RGB")
    colours = found[: 3 * 2**bits].reshape(3, -1).T
    eight: Bytes = colours.astype(np.uint8) if colours.max() < 256 else eight_bit_table(16)[colours & 0xFFFF]
    return eight
