"""JPEG (ITU-T T.81): segments, and an estimate of the cost of decoding.

Segments before the first scan are parsed here, and only those required for decoding are passed to libjpeg, so each
metadata segment costs one step in Python. The scans, which are nearly all of the file, are passed unchanged.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from PIL import Image

from imaging.errors import NotAnImageError, cut_off, damaged
from imaging.formats.codec import run_codec
from imaging.formats.orientation import orientation_of
from imaging.formats.picture import Picture

_MAX_SEGMENTS = 10_000
"""Maximum number of segments before the first scan. Profiles and previews need a few hundred of up to 64 KiB each."""
_MAX_SCANS = 500
MAX_WORK = 2.5e9
"""Maximum number of visited coefficients, at about 1 ns each if nothing is stored for them.

The number of scans alone does not measure the cost: an empty scan of 50 megapixels takes up to 40 ms, of a thumbnail
almost nothing. A progressive photograph of 50 megapixels without subsampling has 0.6e9.
"""
_ARITHMETIC_COST = 10
"""Cost relative to Huffman codes. A coefficient may take almost no bits, so the file's size does not bound the cost."""
_BLOCK_COST = 8
"""Cost of a block that a scan skips, in coefficients."""

_SOS, _EOI, _SOI = 0xDA, 0xD9, 0xD8
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_DECODED = {0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA}
_PROGRESSIVE, _LOSSLESS, _ARITHMETIC = {0xC2, 0xCA}, {0xC3}, {0xC9, 0xCA}
_ALONE = {0x01, *range(0xD0, 0xD9)}
_SKIPPED = {*range(0xE1, 0xEE), 0xEF, 0xFE}
"""Skipped segments: APPn and COM, except APP0 (JFIF) and APP14 (Adobe), which define the colours of the channels."""
_FILL = re.compile(rb"\xff+")
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_AT_ONCE = 1 << 20
"""Bytes searched at once with the GIL held."""
_JOINED = 1 << 20
"""Maximum size in bytes of a file copied into one part; the codec releases and reacquires the GIL for each part."""
_MODES = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}
"""Pillow's mode and raw mode by number of channels. CMYK is treated as inverted (Adobe), with or without Adobe's
marker, as in browsers."""


@dataclass
class Frame:
    """Contents of the segments before the first scan.

    Attributes:
        marker: marker of the frame header, 0xC0 to 0xCF.
        width, height: size in pixels.
        sampling: horizontal and vertical factors by component identifier.
        head: the segments required for decoding, unchanged.
        scans: the rest of the file, starting at the header of the first scan.
    """

    data: bytes
    marker: int = 0
    width: int = 0
    height: int = 0
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    channels: int = 0
    head: list[memoryview] = field(default_factory=list)
    scans_at: int = 0
    exif: bytes = b""
    profile: dict[int, bytes] = field(default_factory=dict)

    @property
    def scans(self) -> memoryview:
        """The rest of the file, starting at the header of the first scan."""
        return memoryview(self.data)[self.scans_at :]


def read_jpeg(data: bytes) -> Picture:
    """Read a JPEG file; of several appended images, as phones write them, the first.

    Raises:
        NotAnImageError: the file is damaged, truncated, of an unsupported kind, or too expensive to decode.
    """
    frame = read_frame(data)
    mode, raw = _MODES[frame.channels]
    coefficients = 2 * sum(blocks for blocks in _blocks(frame).values()) if frame.marker in _PROGRESSIVE else 0
    pixels = 64 * max(_blocks(frame).values())
    return Picture(
        width=frame.width,
        height=frame.height,
        bytes_per_pixel=max(8, 4 + -(-64 * coefficients // pixels)),
        load=partial(decode_frame, frame, mode, raw),
        load_scaled=None if frame.marker in _LOSSLESS else lambda scale: decode_frame(frame, mode, raw, scale=scale),
        orientation=orientation_of(frame.exif),
        profile=partial(_profile, frame.profile),
    )


def read_frame(data: bytes, max_work: float = MAX_WORK) -> Frame:
    """Read the segments before the first scan, and check that decoding the scans costs at most `max_work`.

    Raises:
        NotAnImageError: as `read_jpeg`.
    """
    frame = Frame(data)
    for marker, start, end in _segments(data):
        content = memoryview(data)[start + 4 : end]
        if marker in _SOF:
            _read_header(frame, marker, bytes(content))
        if marker == _SOS:
            frame.scans_at = start
            break
        if marker == 0xE1 and not frame.exif and bytes(content[:6]) == b"Exif\0\0":
            frame.exif = bytes(content)
        elif marker == 0xE2 and bytes(content[:12]) == b"ICC_PROFILE\0" and len(content) > 14:
            frame.profile.setdefault(content[12], bytes(content[14:]))
        if marker not in _SKIPPED:
            frame.head.append(memoryview(data)[start:end])
    if not frame.marker:
        raise damaged("no header precedes its first scan")
    _check_work(frame, max_work)
    return frame


def decode_frame(frame: Frame, mode: str, raw: str, colours: str = "", scale: int = 1) -> Image.Image:
    """Decode the pixels.

    Args:
        frame: result of `read_frame`.
        mode, raw: Pillow's mode of the image, and raw mode of the decoder's rows.
        colours: colour space of the channels (RGB, YCbCr, CMYK, L); empty uses the markers.
        scale: 1, 2, 4 or 8, which must divide both sides; libjpeg scales down by this factor.
    """
    parts: tuple[bytes | memoryview, ...] = (b"".join((b"\xff\xd8", *frame.head)), frame.scans)
    if len(frame.data) <= _JOINED:
        parts = (b"".join(parts),)
    image = Image.new(mode, (frame.width // scale, frame.height // scale), None)
    return run_codec(image, "jpeg", (raw, colours, scale, 0), parts)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the segments before the first scan, and of that scan's header."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        position = data.find(b"\xff", position)
        if position >= 0:
            position += len(_FILL.match(data, position)[0]) - 1  # type: ignore[index]  # always matches
        if not 0 <= position < len(data) - 3:
            raise cut_off()
        marker = data[position + 1]
        if marker in _ALONE or not marker:
            position += 2
            continue
        if marker == _EOI:
            raise damaged("it ends before its pixels")
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if end > len(data) or end < position + 4:
            raise cut_off()
        yield marker, position, end
        if marker == _SOS:
            return
        position = end
    raise NotAnImageError(
        f"the JPEG has more than {_MAX_SEGMENTS} segments of metadata; save it again, without metadata"
    )


def _read_header(frame: Frame, marker: int, content: bytes) -> None:
    remedy = "save it as an ordinary JPEG of 8 bits, or as PNG"
    if frame.marker or len(content) < 6 or len(content) != 6 + 3 * content[5]:
        raise damaged("its frame header is not valid")
    depth, frame.height, frame.width, frame.channels = struct.unpack_from(">BHHB", content)
    if marker not in _DECODED:
        raise NotAnImageError(f"the JPEG is of an unsupported kind (hierarchical, SOF{marker - 0xC0}); {remedy}")
    if depth != 8:
        raise NotAnImageError(f"the JPEG has {depth} bits per channel, which is not supported; {remedy}")
    if frame.channels not in _MODES:
        raise NotAnImageError(f"the JPEG has {frame.channels} channels; expected 1, 3 or 4: {remedy}")
    frame.marker = marker
    for index in range(frame.channels):
        identifier, factors, _ = content[6 + 3 * index : 9 + 3 * index]
        if not (1 <= factors >> 4 <= 4 and 1 <= factors & 15 <= 4):
            raise damaged("its sampling factors are not valid")
        frame.sampling[identifier] = (factors >> 4, factors & 15)


def _blocks(frame: Frame) -> dict[int, int]:
    """Return the number of 8×8 blocks of each component."""
    across = max(factor for factor, _ in frame.sampling.values())
    down = max(factor for _, factor in frame.sampling.values())
    return {
        identifier: max(1, -(-frame.width * h // (8 * across)) * -(-frame.height * v // (8 * down)))
        for identifier, (h, v) in frame.sampling.items()
    }


def _check_work(frame: Frame, max_work: float) -> None:
    """Refuse an image that is too expensive to decode for its size, judged by the headers of its scans.

    A sequential file whose first scan has all channels is decoded from that scan alone, so no search is needed.
    """
    data, position = frame.data, frame.scans_at
    if frame.marker not in _PROGRESSIVE and position + 4 < len(data) and data[position + 4] == frame.channels:
        return
    blocks = _blocks(frame)
    cost = _ARITHMETIC_COST if frame.marker in _ARITHMETIC else 1
    work = 0
    for scans, content in enumerate(_scan_headers(data, position), start=1):
        band = content[-2] - content[-3] + 1 if frame.marker in _PROGRESSIVE else 64
        visited = sum(blocks.get(identifier, 0) for identifier in content[1 : 1 + 2 * content[0] : 2])
        work += cost * visited * (_BLOCK_COST + max(band, 1))
        if scans > _MAX_SCANS or work > max_work:
            raise NotAnImageError(
                f"the JPEG has {scans} scans or more of {frame.width}×{frame.height} pixels, which take too long to "
                "decode; save it again, as an ordinary JPEG"
            )


def _scan_headers(data: bytes, position: int) -> Iterator[bytes]:
    """Yield the contents of each scan header up to the end of the image."""
    while True:
        marker = data[position + 1]
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _SOS:
            content = data[position + 4 : position + 2 + length]
            if len(content) < 4 or len(content) != 4 + 2 * content[0]:
                raise damaged("a scan's header is not valid")
            yield content
        position += 2 + length
        found = None
        while found is None and position < len(data):
            found = _MARKER.search(data, position, position + _AT_ONCE + 1)
            position = found.start() if found else position + _AT_ONCE
        if found is None or data[position + 1] in {_EOI, _SOI}:
            return


def _profile(parts: dict[int, bytes]) -> bytes | None:
    return b"".join(parts[number] for number in sorted(parts)) or None
