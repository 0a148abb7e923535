"""JPEG (ITU-T T.81): segments, and the work that its scans cost.

Segments before the first scan are walked here, and only those that pixels need go to libjpeg, so that metadata cost no
more than a step in Python each. The scans, which are nearly all of the file, go to it as they are.
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
"""Before the first scan. Profiles, previews and editors' notes need some hundred, for each has up to 64 KiB."""
_MAX_SCANS = 500
MAX_WORK = 2.5e9
"""Coefficients that may be visited, about a nanosecond each where nothing is stored of them.

The number of scans alone is no measure: an empty scan of 50 megapixels takes up to 40 ms, of a thumbnail none. A
progressive photograph of 50 megapixels without subsampling is 0.6e9.
"""
_ARITHMETIC_COST = 10
"""Times that of Huffman codes; and a coefficient may take next to no bits, so the size of a file bounds nothing."""
_BLOCK_COST = 8
"""Of a block that a scan passes by, in coefficients."""

_SOS, _EOI, _SOI = 0xDA, 0xD9, 0xD8
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_DECODED = {0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA}
_PROGRESSIVE, _LOSSLESS, _ARITHMETIC = {0xC2, 0xCA}, {0xC3}, {0xC9, 0xCA}
_ALONE = {0x01, *range(0xD0, 0xD9)}
_SKIPPED = {*range(0xE1, 0xEE), 0xEF, 0xFE}
"""APPn and COM. APP0 (JFIF) and APP14 (Adobe) say which colours the channels are."""
_FILL = re.compile(rb"\xff+")
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_AT_ONCE = 1 << 20
"""Bytes that are searched without letting other threads run."""
_JOINED = 1 << 20
"""Bytes of a file that is copied into one part: the codec gives Python's lock away for each part, and waits for it."""
_MODES = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}
"""Pillow's mode and raw mode by channels. As in browsers, CMYK is stored inverted, as Adobe does, with its marker or
without."""


@dataclass
class Frame:
    """Contents of the segments before the first scan.

    Attributes:
        marker: of the frame header, 0xC0 to 0xCF.
        width, height: in pixels.
        sampling: horizontal and vertical factors by identifier of the component.
        head: the segments that pixels need, as they are.
        scans: the rest of the file, from the first scan's header on.
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
        """The rest of the file, from the first scan's header on."""
        return memoryview(self.data)[self.scans_at :]


def read_jpeg(data: bytes) -> Picture:
    """Return the picture of a JPEG file; of several, as phones append them, the first.

    Raises:
        NotAnImageError: it is damaged, cut off, of a kind that is not decoded, or more work than pixels explain.
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
    """Return what precedes the first scan, and check that decoding the scans costs at most `max_work`.

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
    """Return the pixels.

    Args:
        frame: of `read_frame`.
        mode, raw: Pillow's mode of the image, and of the decoder's rows.
        colours: what the channels are (RGB, YCbCr, CMYK, L); empty takes it from the markers.
        scale: 1, 2, 4 or 8: libjpeg divides both sides by it, which must leave no remainder.
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
            position += len(_FILL.match(data, position)[0]) - 1  # type: ignore[index]  # it begins so
        if not 0 <= position < len(data) - 3:
            raise cut_off()
        marker = data[position + 1]
        if marker in _ALONE or not marker:
            position += 2
            continue
        if marker == _EOI:
            raise damaged("it ends without pixels")
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if end > len(data) or end < position + 4:
            raise cut_off()
        yield marker, position, end
        if marker == _SOS:
            return
        position = end
    raise NotAnImageError(
        f"the JPEG has more than {_MAX_SEGMENTS} segments of metadata; save it anew, without metadata"
    )


def _read_header(frame: Frame, marker: int, content: bytes) -> None:
    remedy = "save it as an ordinary JPEG of 8 bits, or as PNG"
    if frame.marker or len(content) < 6 or len(content) != 6 + 3 * content[5]:
        raise damaged("its frame header is not valid")
    depth, frame.height, frame.width, frame.channels = struct.unpack_from(">BHHB", content)
    if marker not in _DECODED:
        raise NotAnImageError(f"the JPEG is of a kind that is not decoded (hierarchical, SOF{marker - 0xC0}); {remedy}")
    if depth != 8:
        raise NotAnImageError(f"the JPEG has {depth} bits a channel, which are not decoded; {remedy}")
    if frame.channels not in _MODES:
        raise NotAnImageError(f"the JPEG has {frame.channels} channels; expected 1, 3 or 4: {remedy}")
    frame.marker = marker
    for index in range(frame.channels):
        identifier, factors, _ = content[6 + 3 * index : 9 + 3 * index]
        if not (1 <= factors >> 4 <= 4 and 1 <= factors & 15 <= 4):
            raise damaged("its sampling factors are not valid")
        frame.sampling[identifier] = (factors >> 4, factors & 15)


def _blocks(frame: Frame) -> dict[int, int]:
    """Return the 8×8 blocks of each component."""
    across = max(factor for factor, _ in frame.sampling.values())
    down = max(factor for _, factor in frame.sampling.values())
    return {
        identifier: max(1, -(-frame.width * h // (8 * across)) * -(-frame.height * v // (8 * down)))
        for identifier, (h, v) in frame.sampling.items()
    }


def _check_work(frame: Frame, max_work: float) -> None:
    """Refuse what is more work than its pixels explain, from the scans' headers.

    A sequential file whose first scan has all channels is decoded in this one: nothing has to be looked for.
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
                "decode; save it anew, as an ordinary JPEG"
            )


def _scan_headers(data: bytes, position: int) -> Iterator[bytes]:
    """Yield what the header of each scan holds, up to the end of the image."""
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
