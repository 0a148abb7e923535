"""Files that are not images or are of unsupported formats."""

import gzip
import io
from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image

from tests.imaging.corpus.kinds import Kind
from tests.service.pictures import encode, random_pixels


def other_kinds() -> Iterator[Kind]:
    png = encode(random_pixels())
    array = io.BytesIO()
    np.save(array, random_pixels())
    beginnings = {
        "an empty body": (b"", "empty"),
        "text": (b"hello", "body is not an image"),
        "zeros": (bytes(1000), "body is not an image"),
        "a HEIC photo": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC photo.*save it as JPEG"),
        "a HEIC photo by its second brand": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC photo"),
        "a JPEG XL stream": (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        "a JPEG XL file": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        "a JPEG 2000 stream": (b"\xff\x4f\xff\x51\0\x2f", "JPEG 2000"),
        "a Photoshop document": (b"8BPS\0\1", "Photoshop"),
        "an SVG drawing": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        "an SVG drawing after a declaration": (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg/>", "SVG"),
        "a PDF document": (b"%PDF-1.7\n", "PDF"),
        "an HTML page": (b"\n <!DOCTYPE html><title>Not found</title>", "HTML page"),
        "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        "JSON": (b'{"image": ""}', "application/json"),
        "base64": (b"iVBORw0KGgoAAAANSUhEUgAA", "decode the base64"),
        "a data URI": (b"data:image/png;base64,iVBORw0KGgo", "data URI"),
        "gzip": (gzip.compress(png), "gzip.*decompress"),
        "a ZIP archive": (b"PK\3\4\x14\0", "ZIP"),
        "a video": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video"),
        "an audio file": (b"RIFF\0\0\0\0WAVEfmt ", "RIFF"),
        "a DICOM image": (bytes(128) + b"DICM", "DICOM"),
        "a NumPy array": (array.getvalue(), "NumPy"),
        "Canon's raw photo": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "raw photo"),
        "macOS' metadata": (b"\0\5\x16\7\0\2\0\0Mac OS X", "send the file itself"),
    }
    for name, (data, refused) in beginnings.items():
        yield Kind(name, lambda data=data: data, refused=refused)  # type: ignore[misc]
    for kind, refused in {
        "JPEG2000": "JPEG 2000",
        "ICO": "icon",
        "PPM": "Netpbm",
        "DDS": "DirectDraw",
        "QOI": "QOI",
    }.items():
        yield Kind(f"a {kind} file by Pillow", partial(encode, Image.new("RGB", (16, 16)), kind), refused=refused)
    for kind in ("PCX", "TGA"):
        yield Kind(
            f"a {kind} file by Pillow",
            partial(encode, Image.new("RGB", (16, 16)), kind),
            refused="body is not an image",
        )
