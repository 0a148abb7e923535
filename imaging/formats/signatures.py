"""File formats by their first bytes: a reader for supported formats, a remedy for others.

A new format is a reader and a line in this file.
"""

from collections.abc import Callable

from imaging.errors import EXPECTED, NotAnImageError
from imaging.formats.avif import read_avif
from imaging.formats.bmp import read_bmp
from imaging.formats.gif import read_gif
from imaging.formats.jpeg import read_jpeg
from imaging.formats.picture import Picture
from imaging.formats.png import SIGNATURE, read_png
from imaging.formats.tiff import read_tiff
from imaging.formats.webp import read_webp

Reader = Callable[[bytes], Picture]

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif")
)
"""Lower-case suffixes of image files in folders; a file given by name may have any suffix."""

_READERS: dict[bytes, Reader] = {
    b"\xff\xd8\xff": read_jpeg,
    SIGNATURE: read_png,
    b"GIF87a": read_gif,
    b"GIF89a": read_gif,
    b"BM": read_bmp,
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), read_tiff),
}
"""Readers by the first bytes of a file."""

_SAVE = "save it as JPEG or PNG"
_RAW = ("a camera's raw photo", "develop it and save it as JPEG")
_OTHERS = {
    b"\x89PNG": ("a PNG damaged by a transfer in text mode", "transfer it in binary mode"),
    **dict.fromkeys((b"\xff\x0a", b"\0\0\0\x0cJXL "), ("a JPEG XL image", _SAVE)),
    **dict.fromkeys((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), ("a JPEG 2000 image", _SAVE)),
    b"\0\0\1\0": ("a Windows icon", "save its largest image as PNG"),
    b"icns": ("an Apple icon", "save its largest image as PNG"),
    b"8BPS": ("a Photoshop document", "export it as JPEG or PNG"),
    b"gimp xcf": ("a GIMP document", "export it as JPEG or PNG"),
    b"%PDF": ("a PDF document", "save a page as PNG"),
    b"%!PS": ("a PostScript document", "save a page as PNG"),
    b"II\xbc": ("a JPEG XR image", _SAVE),
    **dict.fromkeys((b"IIRO", b"IIU\0", b"FUJIFILM"), _RAW),
    b"qoif": ("a QOI image", "save it as PNG"),
    b"DDS ": ("a DirectDraw surface", "save it as PNG"),
    b"v/1\x01": ("an OpenEXR image", "tone-map it and save it as PNG"),
    b"#?RADIANCE": ("a Radiance HDR image", "tone-map it and save it as PNG"),
    b"SIMPLE  =": ("a FITS image", "scale it and save it as PNG"),
    b"\x93NUMPY": ("a NumPy array", "save it as PNG, or send it as a tensor under /v2"),
    b"\x1f\x8b": ("compressed with gzip", "decompress it"),
    b"PK\3\4": ("a ZIP archive", "send an image file from it"),
    b"\x1aE\xdf\xa3": ("a video", "save a frame of it as JPEG"),
    b"\0\5\x16\7": ("macOS metadata of a file (its name begins with ._)", "send the file itself"),
    b"/9j/": ("the text of a base64-encoded JPEG", "decode the base64"),
    b"iVBORw0KGgo": ("the text of a base64-encoded PNG", "decode the base64"),
    b"data:": ("a data URI", "decode its base64 and send the bytes"),
    b"version https://git-lfs": ("a Git LFS pointer", "run git lfs pull, and send the file"),
    **{
        f"P{number}".encode() + end: ("a Netpbm image", "save it as PNG")
        for number in range(1, 8)
        for end in (b"\n", b" ")
    },
}
"""Unsupported formats by the first bytes of a file: name and remedy."""

_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), ("a HEIC photo", _SAVE)),
    b"crx ": _RAW,
    b"jxl ": ("a JPEG XL image", _SAVE),
}
"""Unsupported brands of the ISO media file format: name and remedy."""

_TEXTS = {
    b"<!doctype html": ("an HTML page", "send the image file instead of a page"),
    b"<html": ("an HTML page", "send the image file instead of a page"),
    b"<svg": ("an SVG drawing", "render it and save it as PNG"),
    b"<?xml": ("an XML document", "if it is an SVG drawing, render it and save it as PNG"),
    b"{": ("JSON", "send it with Content-Type: application/json, or send the file itself"),
}
"""Text files by their lower-case beginning after white space: name and remedy."""


def read_picture(data: bytes) -> Picture:
    """Read the header of an image file and check its limits, without decoding pixels.

    Raises:
        NotAnImageError: the format is not supported; or any reason of the format's reader.
    """
    if not data:
        raise NotAnImageError(f"the image is empty; {EXPECTED}")
    for beginning, reader in _READERS.items():
        if data.startswith(beginning):
            return reader(data)
    if data.startswith(b"RIFF"):
        if data[8:12] == b"WEBP":
            return read_webp(data)
        raise _not_decoded("a sound or video (RIFF)", "save a frame of it as JPEG")
    if data[4:8] == b"ftyp":
        return _read_media(data)
    for beginning, (name, remedy) in _OTHERS.items():
        if data.startswith(beginning):
            raise _not_decoded(name, remedy)
    text = data[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for beginning, (name, remedy) in _TEXTS.items():
        if text.startswith(beginning):
            if b"<svg" in text:
                name, remedy = _TEXTS[b"<svg"]
            raise _not_decoded(name, remedy)
    if data[128:132] == b"DICM":
        raise _not_decoded("a DICOM image", "apply its window level and save it as PNG")
    raise NotAnImageError(f"the body is not an image; {EXPECTED}")


def begins_as_image(data: bytes) -> bool:
    """Return whether a file begins like a supported image, or like an unsupported format that is refused by name."""
    others = (beginning for beginning in _OTHERS if beginning != b"\x1f\x8b")  # two bytes, may be pixels
    return data.startswith((*_READERS, *others, b"RIFF", b"<svg", b"<?xml")) or data[4:8] == b"ftyp"


def _not_decoded(name: str, remedy: str) -> NotAnImageError:
    return NotAnImageError(f"the body is {name}, not a supported image; {EXPECTED}: {remedy}")


def _read_media(data: bytes) -> Picture:
    """Read a file in the ISO media file format; one of its brands must be AVIF."""
    end = min(int.from_bytes(data[:4], "big"), len(data), 1024)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]
    if {b"avif", b"avis"} & set(brands):
        return read_avif(data)
    for brand in brands:
        if brand in _BRANDS:
            raise _not_decoded(*_BRANDS[brand])
    raise _not_decoded("a video", "save a frame of it as JPEG")
