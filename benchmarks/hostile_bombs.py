"""Small request bodies that used to cost gigabytes of memory, minutes of CPU time, or all threads."""

import base64
import gzip
import json
import struct
import zlib

from benchmarks.hostile_requests import INFER, Hostile, request


def bombs() -> list[Hostile]:
    """Return a request for each of these bodies, of kilobytes to a few megabytes."""
    zeros = b'{"inputs":[' + b"0," * 8_000_000 + b"0]}"
    strings = ["x" * 100_000, *["a"] * 5000]
    document = {"inputs": [{"name": "image", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": strings}]}
    numbers = {"inputs": [{"name": "image", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [7] * 2_000_000}]}
    packed = ("Content-Type: application/json", "Content-Encoding: gzip")
    png, jpeg = "Content-Type: image/png", "Content-Type: image/jpeg"
    kind = "bombs"
    return [
        Hostile(kind, request("POST", INFER, gzip.compress(zeros, 9), *packed)),
        Hostile(kind, request("POST", INFER, gzip.compress(json.dumps(document).encode(), 9), *packed)),
        Hostile(kind, request("POST", INFER, gzip.compress(json.dumps(numbers).encode(), 9), *packed)),
        Hostile(kind, request("POST", INFER, b'{"inputs":' + b"[" * 1_000_000, packed[0])),
        Hostile(kind, request("POST", INFER, b'{"id":' + b"9" * 4_000_000 + b"}", packed[0])),
        Hostile(kind, request("POST", "/v1/classify", json.dumps({"image": ["a"] * 1_000_000}).encode(), packed[0])),
        Hostile(kind, request("POST", "/v1/classify", _wide_png(50_000_000), png)),
        Hostile(kind, request("POST", "/v1/classify", _chunky_png(1_300_000), png)),
        Hostile(kind, request("POST", "/v1/classify", _scans(7000, 8000), jpeg)),
        Hostile(kind, request("POST", "/v1/classify", b"\xff\xd8" + b"\xff\xe5\0\x02" * 4_000_000 + b"\xff\xd9", jpeg)),
        Hostile(kind, request("POST", "/v1/classify", base64.b64decode(_NO_PALETTE), png)),
    ]


_NO_PALETTE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAMAAAAoyzS7AAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(width: int, height: int, bits: int, middle: bytes, pixels: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + middle + _chunk(b"IDAT", zlib.compress(pixels, 9)) + _chunk(b"IEND", b"")


def _wide_png(width: int) -> bytes:
    return _png(width, 1, 1, b"", bytes(1 + width // 8))


def _chunky_png(chunks: int) -> bytes:
    return _png(8, 8, 8, _chunk(b"prVt", b"") * chunks, bytes(72))


def _scans(side: int, scans: int) -> bytes:
    """Return a progressive JPEG whose scans each consist of one run of end-of-band codes."""
    blocks = ((side + 7) // 8) ** 2
    bits = "011111111111111" * -(-blocks // 32767)
    bits += "1" * (-len(bits) % 8)
    runs = bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")

    def segment(marker: int, data: bytes) -> bytes:
        return bytes([255, marker]) + struct.pack(">H", len(data) + 2) + data

    tables = segment(0xC4, b"\0\1" + bytes(15) + b"\0") + segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0")
    frame = segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes((blocks + 7) // 8)
    return b"\xff\xd8" + frame + tables + first + (segment(0xDA, b"\1\1\0\1\x3f\0") + runs) * scans + b"\xff\xd9"
