"""Bodies, heads and query strings that cost a parser as much time or memory as possible."""

import gzip
import json
import zlib
from collections.abc import Iterator

from service.inputs.json_text import MAX_DIGITS
from service.protocol_v2.envelope import HEADER_LENGTH

PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'


def filled(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))


VALUES = [
    b"0,",
    b"255,",
    b"1.5,",
    b"[],",
    b"{},",
    b'"a",',
    b"null,",
    b'{"a":[0]},',
    b"9" * 4300 + b",",
    b"9" * MAX_DIGITS + b"." + b"9" * 4000 + b",",
    b"1e-" + b"0" * 4000 + b"9,",
    b"[[[[]]]],",
]
TENSOR = b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,8,6,3],"data":%s}]}'


def json_bodies(size: int) -> Iterator[bytes]:
    """Yield bodies of about `size` bytes that are JSON or start like JSON."""
    for value in VALUES:
        values = b"[%s0]" % filled(value, size - 100)
        yield TENSOR % values
        yield b'{"inputs":%s}' % values
    for value in VALUES[:6:5]:
        values = b"[%s0]" % filled(value, size - 100)
        yield values
        yield b'{"inputs":[{"name":"image","datatype":"UINT8","shape":%s}]}' % values
        yield b'{"inputs":[],"parameters":{"a":%s}}' % values
    for value in (b"9" * 4300, b"9" * MAX_DIGITS):
        yield b'{"inputs":[%s":"]}' % ((value + b",") * min(size // 4400, 1990))  # parsed twice
    yield TENSOR % (b'["%s",%s"a"]' % (b"x" * 100_000, filled(b'"a",', size - 100_200)))
    for unit in (b"[", b'{"a":', b'"', b" ", b"\0", b'"data":[', b'"data":[],', b'"data":["a",', b"\xef\xbb\xbf"):
        yield filled(unit, size)
    yield TENSOR % filled(b"[", size)
    yield b"{%s}" % b",".join(b'"%d":0' % index for index in range(size // 10))
    for unit in (
        b"A",
        b"\\u0041",
        b"\\ud83d\\ude00",
        "\U0001f600".encode(),
        b" ",
        b"=",
        b"QUJD\\n",
        b"-_",
        b'\\"',
        b",",
    ):
        text = filled(unit, size - 1000)
        yield b'{"image":"QUJD%s!","id":"%s"}' % (text[: size // 2], text[: size // 2])
        yield b'{"image":"%s"}' % text
        yield b'{"inputs":[{"name":"image_bytes","datatype":"BYTES","shape":[1],"data":["%s"]}]}' % text
    yield b'{"image":"","variant":"%s"}' % filled(b"x", size)
    yield b'{"id":"%s","inputs":[]}' % filled(b"x", size)
    yield b'{"image":"data:%s"}' % filled(b"a", size)
    yield b'{"image":"\xf0\x9f\x98\x80%s"}' % filled(b"A", size)
    yield b'{"image":"","top_k":%s}' % filled(b"9", size)
    yield b'{"image":"","top_k":0.%s}' % filled(b"9", size)


def multipart_bodies(size: int) -> Iterator[bytes]:
    """Yield bodies of about `size` bytes that are multipart with boundary b, or start like it."""
    for unit in (
        b"--b\r\n",
        b"\r\n--b",
        b"--b--",
        b"\r\n--",
        b"\n",
        b"--",
        b"x",
        PART % (b"image", b""),
        PART % (b"a", b""),
    ):
        yield filled(unit, size)
        yield PART % (b"image", b"") + filled(unit, size) + b"\r\n--b--"
    yield filled(PART % (b"top_k", b"") + b"5\r\n", size)
    yield b"--b\r\n" + filled(b"A: b\r\n", size)
    yield b"--b\r\nContent-Disposition: " + filled(b";", size)
    yield PART % (b"top_k", b"") + filled(b"5", size) + b"\r\n--b--"
    for encoding in (b"base64", b"quoted-printable"):
        for unit in (b"QUJD\r\n", b"=3D", b"=", b"-_", b"=\r\n", b" "):
            head = PART % (b"image", b"\r\nContent-Transfer-Encoding: " + encoding)
            yield head + filled(unit, size) + b"\r\n--b--"


def binary_bodies(size: int) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Yield bodies, with their headers: JSON followed by binary data, raw bodies, and compressed ones."""
    for name, datatype, shape in (("image", "UINT8", [1, 8, 6, 3]), ("image_bytes", "BYTES", [8])):
        for tensors in (bytes(size), b"\xff" * size, (size // 8 - 4).to_bytes(4, "little") * (size // 4)):
            document = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
            head = json.dumps({"inputs": [document]}).encode()
            yield head + tensors, {HEADER_LENGTH: str(len(head))}
    for raw in (bytes(size), b"BM" + bytes(size - 2), bytes(144 * (size // 144))):
        yield raw, {HEADER_LENGTH: "0"}
    for body in (
        b'{"inputs":[%s0]}' % filled(b"0,", size - 20),
        TENSOR % (b"[%s0]" % filled(b"0,", size - 200)),
        bytes(size),
    ):
        yield gzip.compress(body, 1), {"Content-Encoding": "gzip"}
        yield zlib.compress(body, 1), {"Content-Encoding": "deflate"}
    yield gzip.compress(bytes(4 * size), 1), {"Content-Encoding": "gzip"}


def heads(size: int) -> Iterator[bytes]:
    """Yield values of Content-Type."""
    for unit in (b";", b";a=", b';a="', b';a="\\"', b"; ", b"\\", b'"', b"x", b";boundary=x"):
        yield b"multipart/form-data" + filled(unit, size)
        yield b'multipart/form-data; boundary="' + filled(unit, size)


def queries(size: int) -> Iterator[bytes]:
    """Yield query strings."""
    for unit in (b"a&", b"a=1&", b"top_k=5&", b"%41", b"x", b"&", b"=", b"top_", b";"):
        yield filled(unit, size)
        yield b"top_k=" + filled(unit, size)
        yield b"&".join(b"a%d=1" % index for index in range(size // 8))
