"""Hostile requests as bytes; the n-th request is always the same.

Kinds, after Triton's L0_http_fuzz and the issues it covers: mutated images, mutated JSON, every method on every
route, forms, request smuggling, malformed heads, binary tensors of the wrong size.
"""

import base64
import copy
import gzip
import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW")
ROUTES = (
    *("/", "/docs", "/openapi.json", "/metrics", "/health/live", "/health/ready", "/v1/models", "/v1/latency"),
    *("/v1/models/digits", "/v1/models/digits/variants/rope", "/v1/classify", "/v1/compare", "/v2", "/v2/health/live"),
    *(
        "/v2/health/ready",
        "/v2/models/digits",
        "/v2/models/digits/ready",
        "/v2/models/digits/infer",
        "/v2/models/stats",
    ),
    *("/v2/repository/index", "/v2/repository/models/digits/load", "/v2/repository/models/digits/unload", "/nope"),
    *("/v1/../v1/models", "//v1/models", "/v1/models/%00", "/v1/models/%ff%fe", "/health/live/"),
    "/v1/models?x=" + "y" * 999,
)
INFER = "/v2/models/digits/infer"
PICTURES = (
    *("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff"),
    *("application/octet-stream", "text/html"),
)


@dataclass(frozen=True)
class Hostile:
    """Bytes sent on one connection.

    Attributes:
        kind: kind of request, a row of the table.
        data: bytes of the request.
        half_close: whether the client then shuts down its sending side.
        may_be_late: whether 504 is expected, because of a deadline of 1 ms.
    """

    kind: str
    data: bytes
    half_close: bool = False
    may_be_late: bool = False


def hostile(number: int) -> Hostile:
    """Return the n-th request."""
    rng = random.Random(number)  # noqa: S311
    kinds = tuple(KINDS)
    kind = rng.choices(kinds, [KINDS[name][0] for name in kinds])[0]
    return KINDS[kind][1](kind, rng)


def request(method: str, target: str, body: bytes, *headers: str, length: bool = True) -> bytes:
    """Return a request with `Connection: close`."""
    head = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
    if length and (body or method not in {"GET", "HEAD"}):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*head, "", "")).encode("latin-1") + body


def _pictures() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 4), np.uint8)
    picture = Image.fromarray(pixels)
    files = []
    for format_, mode in (
        *(("PNG", mode) for mode in ("RGB", "RGBA", "LA", "L", "P", "1", "I;16")),
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
        *(("BMP", mode) for mode in ("RGB", "L", "1", "RGBA")),
        *(("TIFF", mode) for mode in ("RGB", "RGBA", "I;16", "1", "CMYK")),
        ("GIF", "P"),
    ):
        buffer = io.BytesIO()
        converted = picture.convert("RGB").convert("L").convert(mode) if mode == "I;16" else picture.convert(mode)
        converted.save(buffer, format_)
        files.append(buffer.getvalue())
    return files


_PICTURES = _pictures()


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return a file with a few bytes changed, removed, repeated or inserted."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(len(found)) if found else 0
        match rng.randrange(6):
            case 0:
                found[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                found[place : place + 4] = struct.pack(
                    rng.choice("<>") + "I", rng.choice((0, 1, 2**31 - 1, 2**32 - 1, 65536))
                )
            case 2:
                del found[place : place + rng.randrange(1, 32)]
            case 3:
                found[place:place] = rng.randbytes(rng.randrange(1, 32))
            case 4:
                found[place:place] = found[place : place + rng.randrange(1, 256)]
            case _:
                del found[place:]
    return bytes(found)


def _picture(kind: str, rng: random.Random) -> Hostile:
    body = mutated(rng.choice(_PICTURES), rng)
    target = rng.choice(("/v1/classify", "/v1/classify?variant=rope", "/v1/compare?variants=rope,none", INFER))
    late = rng.random() < 0.002
    if late:
        target = "/v1/classify?timeout_ms=1"
    return Hostile(
        kind, request("POST", target, body, f"Content-Type: {rng.choice(PICTURES)}"), rng.random() < 0.5, late
    )


_ODD: tuple[object, ...] = (
    *(
        None,
        True,
        -1,
        0,
        2**63,
        10**400,
        1e308,
        float("inf"),
        float("nan"),
        "",
        "a",
        "\0",
        "\ud800",
        "x" * 5000,
        [],
        {},
        [[]],
    ),
    *([None] * 50, [0] * 3000, ["a"] * 3000, {"a": {"b": {}}}, [[[[[[[[1]]]]]]]], [1.5, "a", None, [1]]),
)


def _document(rng: random.Random) -> object:
    data = base64.b64encode(rng.choice(_PICTURES)).decode()
    documents: tuple[dict[str, object], ...] = (
        {"image": data},
        {"inputs": [{"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": [data]}]},
        {
            "inputs": [{"name": "image", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [7] * 3072}],
            "id": "a",
        },
        {
            "inputs": [{"name": "image", "shape": [1, 2], "datatype": "UINT8", "data": [[1, 2]]}],
            "outputs": [{"name": "logits"}],
        },
    )
    document = rng.choice(documents)
    for _ in range(rng.randrange(3)):
        _disturb(document, rng)
    return document


def _disturb(document: object, rng: random.Random) -> None:
    """Replace, add or remove a random member."""
    if isinstance(document, dict) and document:
        key = rng.choice(list(document))
        if isinstance(document[key], dict | list) and document[key] and rng.random() < 0.6:
            _disturb(document[key], rng)
        elif rng.random() < 0.3:
            del document[key]
        else:
            name = key if rng.random() < 0.7 else rng.choice(("parameters", "x", "shape", "variant"))
            document[name] = copy.deepcopy(rng.choice(_ODD))  # a copy: later changes must not modify _ODD
    elif isinstance(document, list) and document:
        place = rng.randrange(len(document))
        if isinstance(document[place], dict | list) and rng.random() < 0.7:
            _disturb(document[place], rng)
        else:
            document[place] = copy.deepcopy(rng.choice(_ODD))


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)  # without the time, to be reproducible


def _json(kind: str, rng: random.Random) -> Hostile:
    body = json.dumps(_document(rng)).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        body = mutated(body, rng)
    headers = ["Content-Type: application/json"]
    if rng.random() < 0.1:
        body = rng.choice((_gzip, zlib.compress))(body) if rng.random() < 0.8 else body
        headers.append(f"Content-Encoding: {rng.choice(('gzip', 'deflate', 'br', 'gzip, gzip'))}")
    target = rng.choice((INFER, INFER, "/v1/classify", "/v1/compare", "/v2/repository/index"))
    return Hostile(kind, request("POST", target, body, *headers), rng.random() < 0.3)


def _route(kind: str, rng: random.Random) -> Hostile:
    method, route = rng.choice(METHODS), rng.choice(ROUTES)
    return Hostile(kind, request(method, route, rng.choice((b"", b"{}", b"x" * 100))), rng.random() < 0.5)


def _form(kind: str, rng: random.Random) -> Hostile:
    boundary = rng.choice(("b", "-" * 20, "a b", 'q"', "x" * 70))
    name = rng.choice(("image", "variant", "x", ""))
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'
    body = part.encode() * rng.choice((1, 1, 2, 1200)) + rng.choice(_PICTURES) + f"\r\n--{boundary}--\r\n".encode()
    if rng.random() < 0.7:
        body = mutated(body, rng)
    return Hostile(
        kind,
        request("POST", "/v1/classify", body, f"Content-Type: multipart/form-data; boundary={boundary}"),
        rng.random() < 0.3,
    )


def _smuggled(kind: str, rng: random.Random) -> Hostile:
    inner = b"GET /health/live HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    headers = rng.sample(
        (
            "Content-Length: 5",
            f"Content-Length: {len(inner)}",
            "Content-Length: +5",
            "Content-Length: 5, 5",
            "Content-Length: 0x5",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding : chunked",
            " Transfer-Encoding: chunked",
            "Transfer-Encoding:\tchunked",
            "X: y\rContent-Length: 5",
        ),
        2,
    )
    body = rng.choice((b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n", b"hello")) + inner
    return Hostile(kind, request("POST", "/v1/classify", body, *headers, length=False), half_close=True)


def _malformed(kind: str, rng: random.Random) -> Hostile:
    data = rng.choice(
        (
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + rng.randbytes(64),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /health/live HTTP/9.9\r\n\r\n",
            b"GET " + b"a" * rng.choice((10, 70000)) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"a: " + b"b" * 40000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n",
            b"GET /health/live HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            mutated(request("GET", "/health/live", b""), rng),
            mutated(request("POST", "/v1/classify", b"abc"), rng),
            rng.randbytes(200),
        )
    )
    return Hostile(kind, data, half_close=True)


def _tensor(kind: str, rng: random.Random) -> Hostile:
    rows = rng.choice((0, 1, 2, 4, 9, 10**6, -1))
    tensor = {
        "name": "image",
        "shape": [rows, 32, 32, 3],
        "datatype": rng.choice(("UINT8", "FP32", "BYTES", "FP16", "Ü")),
    }
    size = rng.choice((3072 * max(0, min(rows, 9)), 3072, 3071, 0, 2**40, -1))
    document = {"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}
    head = json.dumps(document).encode()
    body = head + bytes(min(max(size, 0), 40000))
    length = rng.choice((len(head), len(head), len(head), 0, 10**9, -5))
    headers = ("Content-Type: application/octet-stream", f"Inference-Header-Content-Length: {length}")
    return Hostile(kind, request("POST", INFER, body, *headers), rng.random() < 0.2)


KINDS: dict[str, tuple[float, Callable[[str, random.Random], Hostile]]] = {
    "mutated pictures": (37, _picture),
    "JSON": (23, _json),
    "methods × routes": (14, _route),
    "forms": (8, _form),
    "smuggling": (6.5, _smuggled),
    "malformed heads": (5.5, _malformed),
    "binary tensors": (6, _tensor),
}
"""Share in percent, and generator, of each kind."""
