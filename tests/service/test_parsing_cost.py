"""What any body within the limits costs other requests: the interpreter lock for 150 ms at most, memory of six bodies.

Every parser of bodies gets every hostile body, of a quarter of MAX_BODY_BYTES, and has a quarter of the time.
"""

import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient
from starlette.requests import Request

from service.catalogue import Servable
from service.errors import ProblemError
from service.holding import HeldBytes, Holding
from service.inputs.encodings import expand
from service.inputs.forms import form_of
from service.inputs.json_text import LARGE
from service.inputs.preprocess import Reading
from service.protocol_v2.asking import parse
from service.protocol_v2.documents import IndexRequest, LoadRequest, read_document
from service.protocol_v2.envelope import HEADER_LENGTH
from service.protocol_v2.numbers import read_numbers
from service.protocol_v2.reading import read_rows
from service.protocol_v2.rows import Limits
from service.routers.classify import ClassifyQuery
from service.routers.lean import read_query
from service.telemetry.stopwatch import Stopwatch
from tests.service.costs import longest_hold, peak_growth

SIZE = 4 * 2**20
HOLD = 0.15 / 4
TRIES = 8
MEMORY = 6 - 1  # besides the body itself
SLACK = 2 * 2**20
KNOWN = tuple(ClassifyQuery.model_fields)
PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'

Parser = Callable[[bytes], object]


def filled(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))


VALUES = [b"0,", b"255,", b"1.5,", b"[],", b"{},", b'"a",', b"null,", b'{"a":[0]},', b"9" * 4300 + b",", b"[[[[]]]],"]
TENSOR = b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1,8,6,3],"data":%s}]}'


def json_bodies(size: int) -> Iterator[bytes]:
    """Yield bodies of about `size` bytes that are JSON, or begin so."""
    for value in VALUES:
        values = b"[%s0]" % filled(value, size - 100)
        yield TENSOR % values
        yield b'{"inputs":%s}' % values
    for value in VALUES[:6:5]:
        values = b"[%s0]" % filled(value, size - 100)
        yield values
        yield b'{"inputs":[{"name":"image","datatype":"UINT8","shape":%s}]}' % values
        yield b'{"inputs":[],"parameters":{"a":%s}}' % values
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
    """Yield bodies of about `size` bytes that are multipart with the boundary b, or begin so."""
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
    """Yield bodies with bytes after their JSON, raw and compressed ones, with their headers."""
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


def from_form(content_type: str, body: bytes) -> None:
    form = form_of(content_type)
    assert form is not None
    upload = form(body, KNOWN)
    upload.extract(upload.content)


def from_protocol(servable: Servable, body: bytes, headers: dict[str, str] | None = None) -> None:
    """Do all that is done to a request under /v2 before files are decoded."""
    headers = headers or {}
    if (encoding := headers.get("Content-Encoding")) is not None:
        body = expand(body, encoding, SIZE, Holding(HeldBytes(SIZE)))
    asked = parse(body, headers)
    rows = read_rows(asked, servable, Limits(8, Reading(1, lambda *_: np.zeros((8, 6, 3), np.uint8))))
    if rows.make is not None:
        rows.make(Stopwatch())


def refused(parser: Parser, body: bytes) -> Callable[[], None]:
    """Return what parses a body, and asserts that it is a short error of the client's if it is one."""

    def work() -> None:
        refusal = None
        try:
            with suppress(RequestValidationError):
                parser(body)
        except ProblemError as error:
            refusal = error
        if refusal is not None:
            assert 400 <= refusal.status < 500
            assert len(refusal.detail) < 10_000

    return work


@pytest.fixture(scope="module")
def servable(client: TestClient) -> Servable:
    found: Servable = client.app.state.serving.catalogue.find("colours", "mean", 1)  # type: ignore[attr-defined]
    return found


def check(parser: Parser, body: bytes, share: float = 1.0) -> None:
    """Assert that a parser takes no more memory, and the interpreter lock no longer, than it may.

    Args:
        parser: gets the body.
        body: hostile, or as large as may be.
        share: of SIZE that it has when it is expanded.
    """
    work = refused(parser, body)
    most = MEMORY * max(share * SIZE, len(body)) + SLACK
    holds: list[float] = []
    growths: list[int] = []
    # Other threads of this process allocate too, and the one that watches may be kept from a core: the least counts.
    while len(holds) < TRIES and (not holds or min(growths) > most or min(holds) > HOLD):
        growths.append(peak_growth(lambda: holds.append(longest_hold(work))))
    assert min(growths) <= most, f"{min(growths) / len(body):.1f} × of {body[:60]!r}"
    assert min(holds) <= HOLD, f"{min(holds):.3f} s for {body[:60]!r}"


def test_json_under_v1() -> None:
    for body in json_bodies(SIZE):
        check(partial(from_form, "application/json"), body)


def test_json_under_v2(servable: Servable) -> None:
    for body in json_bodies(SIZE):
        check(partial(from_protocol, servable), body)


def test_forms() -> None:
    for body in multipart_bodies(SIZE):
        check(partial(from_form, "multipart/form-data; boundary=b"), body)


def test_binary_raw_and_compressed_bodies(servable: Servable) -> None:
    for body, headers in binary_bodies(SIZE):
        check(partial(from_protocol, servable, headers=headers), body)


def test_tensors_of_as_many_numbers_as_there_may_be() -> None:
    """224 × 224 pixels in lists of three, eight of them; and so many floats that they fill a body."""
    shape = (8, 224, 224, 3)
    pixel = [0, 128, 255]
    nested = json.dumps([[[pixel] * 224] * 224] * 8, separators=(",", ":")).encode()
    assert read_numbers(nested, shape, "uint8", "image").tolist() == [[[pixel] * 224] * 224] * 8
    check(lambda body: read_numbers(body, shape, "uint8", "image"), nested, len(nested) / SIZE)
    floats = b"[" + b",".join([b"-0.12345678901234567"] * 200_000) + b"]"
    check(lambda body: read_numbers(body, (200_000,), "float32", "image"), floats)
    zeros = b"[" + b",".join([b"0"] * 1_200_000) + b"]"
    check(lambda body: read_numbers(body, (1_200_000,), "float32", "image"), zeros, len(zeros) / SIZE)
    long = b"[" + b",".join([b"9" * 4300] * 900) + b"]"
    check(lambda body: read_numbers(body, (900,), "float32", "image"), long)


def test_what_is_left_to_the_event_loop_is_quick() -> None:
    """Bodies up to LARGE, documents up to 64 KiB, and whatever fits into a head of 32 KiB."""
    parsers: list[tuple[Parser, Iterator[bytes]]] = [
        (partial(from_form, "application/json"), json_bodies(LARGE)),
        (partial(from_form, "multipart/form-data; boundary=b"), multipart_bodies(LARGE)),
        (lambda body: parse(body, {}), json_bodies(LARGE)),
        (lambda body: read_document(IndexRequest, body, "an index request"), json_bodies(65_536)),
        (lambda body: read_document(LoadRequest, body, "a load request"), json_bodies(65_536)),
        (lambda head: from_form(head.decode("latin-1"), b"x"), heads(32_768)),
        (lambda head: read_query(Request({"type": "http", "query_string": head}), ClassifyQuery), queries(32_768)),
    ]
    for parser, bodies in parsers:
        for body in bodies:
            work = refused(parser, body)
            work()
            start = time.thread_time()
            work()
            assert time.thread_time() - start < 0.03, body[:60]


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


def test_a_parser_that_takes_too_long_or_too_much_is_noticed() -> None:
    """The one before: all values are made and then looked at."""
    body = b"[%s[]]" % filled(b"[],", SIZE)
    holds: list[float] = []
    growth = peak_growth(lambda: holds.append(longest_hold(lambda: json.loads(body))))
    assert holds[0] > HOLD
    assert growth > (MEMORY + 1) * len(body)
