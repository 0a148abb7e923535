"""Layout and meaning of a TIFF's samples, from its tags. Unsupported layouts are refused.

TIFF 6.0 with BigTIFF and libtiff's additional compressions. A sample is the value of a channel of a pixel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imaging.errors import NotAnImageError, cut_off
from imaging.formats.tiff_directory import Directory

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
NONE, JPEG, FAX, DEFLATE = 1, 7, {2, 3, 4}, {8, 32946}
BYTE_CODECS = {NONE, 5, *DEFLATE, 32773, 34925, 50000}
"""None, LZW, Deflate, PackBits, LZMA, Zstandard: they compress bytes independently of the samples."""

_CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
_NOT_DECODED = {
    4: "a transparency mask",
    8: "CIELab colours",
    9: "ICCLab colours",
    10: "ITULab colours",
    32803: "a camera's raw samples",
    32844: "LogL luminance",
    32845: "LogLuv colours",
    34892: "a camera's raw samples",
}
_CODECS_NOT_DECODED = {
    6: "old-style JPEG",
    32771: "CCITT RLE with word alignment",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_REMEDY = "save it as PNG, or as TIFF with 8 or 16 bits"
_MAX_SAMPLES = 8
_MAX_TILES = 20_000
_MAX_PADDING = 1 << 22
"""Maximum number of tile pixels beyond the image; tiles are decoded completely."""


@dataclass(frozen=True)
class Layout:
    """Position and meaning of samples.

    Attributes:
        width, height: size of the image in pixels.
        bits: bits per sample, 1 to 16.
        samples: number of samples per pixel, including unused ones.
        photometric: one of the constants above.
        alpha: index of the alpha sample, and whether colours are premultiplied; None without alpha.
        compression, predictor, fill_order: values of the tags.
        planar: whether channels are stored separately.
        subsampling: horizontal and vertical subsampling of YCbCr.
        tiled: whether pixels are stored in tiles instead of strips.
        tile_width, tile_height: size of a tile; a strip is as wide as the image.
        offsets, counts: positions and sizes of tiles or strips in bytes, for all planes.
    """

    width: int
    height: int
    bits: int
    samples: int
    photometric: int
    alpha: tuple[int, bool] | None
    compression: int
    predictor: int
    fill_order: int
    planar: bool
    subsampling: tuple[int, int]
    tiled: bool
    tile_width: int
    tile_height: int
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64] | None

    @property
    def across(self) -> int:
        """Number of tiles in a row."""
        return -(-self.width // self.tile_width)

    @property
    def down(self) -> int:
        """Number of tiles in a column, or of strips."""
        return -(-self.height // self.tile_height)

    @property
    def planes(self) -> int:
        """Number of separately stored one-channel images; 1 if the channels are interleaved."""
        return self.samples if self.planar else 1

    @property
    def channels(self) -> int:
        """Number of colour channels."""
        return _CHANNELS[self.photometric]

    @property
    def subsampled(self) -> bool:
        """Return whether colour has fewer samples than luminance, which changes their order."""
        return self.photometric == YCBCR and self.compression != JPEG and self.subsampling != (1, 1)


def read_layout(tags: Directory) -> Layout:
    """Return the layout of the first image.

    Raises:
        NotAnImageError: the layout is not supported; the message names the cause.
    """
    width, height = tags.number(256, 0), tags.number(257, 0)
    if width <= 0 or height <= 0:
        raise NotAnImageError(f"the TIFF declares {width}×{height} pixels; send the file complete and unchanged")
    _refuse_previews(tags)
    compression = tags.number(259, NONE)
    if compression not in {*BYTE_CODECS, JPEG, *FAX}:
        name = _CODECS_NOT_DECODED.get(compression, f"number {compression}")
        raise NotAnImageError(f"the TIFF is compressed with {name}, which is not decoded; {_REMEDY} and LZW")
    depths = tags.numbers(258)
    samples = tags.number(277, 1 if depths is None else len(depths))
    photometric = _photometric(tags, samples)
    bits = _bits(tags, samples)
    planar = tags.number(284, 1) == 2 and samples > 1
    tiled = 324 in tags or 322 in tags
    subsampling = tags.numbers(530)
    if subsampling is None or len(subsampling) < 2:
        subsampling = np.array([2, 2])
    predictor = tags.number(317, 1) if compression in BYTE_CODECS - {NONE, 32773} else 1
    tile_width = tags.number(322, 0) if tiled else width
    tile_height = tags.number(323, 0) if tiled else min(tags.number(278, height) or height, height)
    offsets, counts = tags.numbers(324 if 324 in tags else 273), tags.numbers(325 if 325 in tags else 279)
    if offsets is None or tile_width <= 0 or tile_height <= 0:
        raise NotAnImageError("the TIFF has no positions of its pixels; send the file complete and unchanged")
    layout = Layout(
        width=width,
        height=height,
        bits=bits,
        samples=samples,
        photometric=photometric,
        alpha=_alpha(tags, samples, _CHANNELS[photometric]),
        compression=compression,
        predictor=predictor,
        fill_order=tags.number(266, 1),
        planar=planar,
        subsampling=(2, 2)
        if subsampling is None or len(subsampling) < 2
        else (int(subsampling[0]), int(subsampling[1])),
        tiled=tiled,
        tile_width=tile_width,
        tile_height=tile_height,
        offsets=offsets,
        counts=counts,
    )
    _check(layout)
    return layout


def _refuse_previews(tags: Directory) -> None:
    """Refuse camera raw files: their first image is a preview, often of another size and crop."""
    if tags.data[8:10] == b"CR" or 50706 in tags or (tags.number(254, 0) & 1 and 330 in tags):
        raise NotAnImageError("the image is a camera's raw photo, which begins with a preview; save it as JPEG")


def _photometric(tags: Directory, samples: int) -> int:
    """Return the photometric interpretation; without a tag, libtiff's default."""
    usual = WHITE_IS_ZERO if tags.number(259, NONE) in FAX else RGB if samples >= 3 else BLACK_IS_ZERO
    photometric = tags.number(262, usual)
    if photometric == CMYK and tags.number(332, 1) != 1:
        raise NotAnImageError("the TIFF contains inks other than cyan, magenta, yellow and black; save it as RGB")
    if photometric not in _CHANNELS:
        name = _NOT_DECODED.get(photometric, f"colours of kind {photometric}")
        raise NotAnImageError(f"the TIFF contains {name}, which is not supported; save it as RGB")
    return photometric


def _bits(tags: Directory, samples: int) -> int:
    """Return the bits per sample."""
    if not 1 <= samples <= _MAX_SAMPLES:
        raise NotAnImageError(f"the TIFF has {samples} samples per pixel; at most {_MAX_SAMPLES} are read; {_REMEDY}")
    found, formats = tags.numbers(258), tags.numbers(339)
    sizes = {1} if found is None else set(found[:samples].tolist())
    kinds = {1} if formats is None else set(formats[:samples].tolist())
    bits = max(sizes, default=1)
    if not kinds <= {1, 4}:
        names = {2: "signed integers", 3: "floating-point numbers"}
        name = names.get(max(kinds), "complex numbers")
        raise NotAnImageError(
            f"the TIFF's samples are {bits}-bit {name}, which have no defined white; expected unsigned integers: "
            f"{_REMEDY}"
        )
    if len(sizes) > 1 or not 1 <= bits <= 16:
        listed = ", ".join(map(str, sorted(sizes)))
        undefined = ", which have no defined white" if bits > 16 else ""
        raise NotAnImageError(f"the TIFF has samples of {listed}-bit integers{undefined}; {_REMEDY}")
    return bits


def _alpha(tags: Directory, samples: int, channels: int) -> tuple[int, bool] | None:
    """Return the index of alpha, and whether colours are premultiplied.

    A fourth sample of RGB without a tag is treated as alpha, as in most readers.
    """
    extra = samples - channels
    if extra <= 0:
        return None
    kinds = tags.numbers(338)
    if kinds is None:
        return (channels, False) if (channels, extra) == (3, 1) else None
    for index, kind in enumerate(kinds[:extra].tolist()):
        if kind in {1, 2, 999}:  # 999 is Corel's value
            return channels + index, kind == 1
    return None


def _check(layout: Layout) -> None:
    """Refuse contradictory or unsupported layouts."""
    extra = layout.samples - layout.channels
    if extra < 0:
        raise NotAnImageError(f"the TIFF has {layout.samples} samples per pixel, its colours need {layout.channels}")
    if layout.channels == 1 and extra > 1:
        raise NotAnImageError(
            f"the TIFF has {layout.samples} bands without a colour interpretation; save red, green and blue as RGB"
        )
    if layout.predictor not in {1, 2} or (layout.predictor == 2 and (layout.bits not in {8, 16} or layout.subsampled)):
        raise NotAnImageError(f"the TIFF's predictor {layout.predictor} is not supported for its samples; {_REMEDY}")
    if layout.compression in FAX and (layout.bits, layout.samples) != (1, 1):
        raise NotAnImageError("the TIFF has fax compression, but is not black and white; save it as PNG")
    if layout.compression == JPEG and (layout.bits != 8 or extra or layout.photometric == PALETTE):
        raise NotAnImageError("the TIFF's JPEG is not of 8-bit grey, RGB, YCbCr or CMYK; save it as PNG")
    if layout.photometric == YCBCR and layout.bits != 8:
        raise NotAnImageError(f"the TIFF has YCbCr colours of {layout.bits} bits; save it as RGB")
    if layout.subsampled and (
        layout.planar
        or extra
        or not set(layout.subsampling) <= {1, 2, 4}
        or (layout.tile_height % layout.subsampling[1] and layout.tile_height < layout.height)
    ):
        raise NotAnImageError("the TIFF has YCbCr colours in an unsupported arrangement; save it as RGB")
    if layout.tiled:
        if layout.tile_width % 16 or layout.tile_height % 16:
            raise NotAnImageError("the TIFF has tiles with sides that are not multiples of 16; save it again")
        padded = layout.across * layout.tile_width * layout.down * layout.tile_height
        if padded > 2 * layout.width * layout.height + _MAX_PADDING:
            raise NotAnImageError("the TIFF has tiles far larger than the image; save it with smaller tiles or strips")
    if (layout.tiled or layout.compression == JPEG) and layout.across * layout.down * layout.planes > _MAX_TILES:
        raise NotAnImageError(f"the TIFF is stored in more than {_MAX_TILES} pieces; save it in larger tiles or strips")
    if len(layout.offsets) < layout.across * layout.down * layout.planes:
        raise cut_off()
