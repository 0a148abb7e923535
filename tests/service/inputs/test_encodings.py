"""Compressed bodies: decompression, limits, and refusals."""

import base64
import gzip
import io
import zlib
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from service.inputs.encodings import MOST_MEMBERS, expand
from service.problems.client_errors import BodyTooLargeError, TooLargeToHoldError, WrongEncodingError
from service.problems.errors import ProblemError
from service.problems.server_errors import MemoryFullError
from service.resources.memory import MemoryBudget, RequestMemory
from tests.service.pictures import encode, random_pixels

PNG = encode(random_pixels())
LIMIT = 300_000


def bare_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return machine.compress(data) + machine.flush()


def in_members(data: bytes, size: int = 1000) -> bytes:
    return b"".join(gzip.compress(data[start : start + size]) for start in range(0, len(data), size))


def named_gzip(data: bytes) -> bytes:
    with io.BytesIO() as out:
        with gzip.GzipFile("picture.png", "wb", fileobj=out) as file:
            file.write(data)
        return out.getvalue()


FORMATS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip with a name": ("gzip", named_gzip),
    "members": ("gzip", in_members),
    "zlib": ("deflate", zlib.compress),
    "zlib, stored": ("deflate", lambda data: zlib.compress(data, 0)),
    "bare": ("deflate", bare_deflate),
}


def expanded(body: bytes, encoding: str, limit: int = LIMIT, held: MemoryBudget | None = None) -> bytes:
    return expand(body, encoding, limit, RequestMemory(held or MemoryBudget(10 * LIMIT)))


@pytest.mark.parametrize("form_", FORMATS)
@pytest.mark.parametrize("plain", [b"", b"x", PNG, bytes(LIMIT), random_pixels(316, 316).tobytes()[:LIMIT]])
def test_a_compressed_body_is_restored(form_: str, plain: bytes) -> None:
    encoding, pack = FORMATS[form_]
    body = pack(plain)
    assert body or form_ == "members"  # gzip needs at least one member
    if body:
        held = MemoryBudget(10 * LIMIT)
        assert expanded(body, encoding, held=held) == plain
        assert held.held == len(plain)


@pytest.mark.parametrize("form_", FORMATS)
def test_a_body_that_expands_beyond_the_limit_is_refused(form_: str) -> None:
    encoding, pack = FORMATS[form_]
    held = MemoryBudget(10 * LIMIT)
    with pytest.raises(BodyTooLargeError, match=f"expands to more than the {LIMIT} bytes"):
        expanded(pack(bytes(LIMIT + 1)), encoding, held=held)
    assert held.held <= LIMIT


def test_expanded_bytes_count_against_the_budget() -> None:
    held = MemoryBudget(2 * LIMIT)
    other, one = RequestMemory(held), RequestMemory(held)
    other.grow(2 * LIMIT - 100)
    with pytest.raises(MemoryFullError):
        expand(gzip.compress(bytes(101)), "gzip", LIMIT, one)
    other.release()
    assert len(expand(gzip.compress(bytes(LIMIT)), "gzip", LIMIT, one)) == LIMIT
    with pytest.raises(TooLargeToHoldError):
        expand(gzip.compress(bytes(LIMIT + 1)), "gzip", 10 * LIMIT, one)
    one.release()
    assert held.held == 0


@pytest.mark.parametrize("form_", FORMATS)
def test_every_truncation_is_refused(form_: str) -> None:
    encoding, pack = FORMATS[form_]
    body = pack(b"a body of a few bytes")
    for length in range(1, len(body)):
        with pytest.raises(WrongEncodingError, match=r"truncated|is not|more than"):
            expanded(body[:length], encoding)


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (b"", "gzip", "truncated"),
        (b"", "deflate", "truncated"),
        (b"plain text", "gzip", "is not gzip"),
        (PNG, "gzip", "is not gzip"),
        (PNG, "deflate", "is not deflate"),
        (gzip.compress(PNG), "deflate", "is not deflate"),
        (zlib.compress(PNG), "gzip", "is not gzip"),
        (gzip.compress(PNG) + b"junk", "gzip", "is not gzip"),
        (zlib.compress(PNG) + b"junk", "deflate", "4 bytes follow"),
        (zlib.compress(b"a") * 2, "deflate", "bytes follow"),
        (gzip.compress(PNG)[:-8] + bytes(8), "gzip", "incorrect data check"),
        (gzip.compress(b"") * (MOST_MEMBERS + 1), "gzip", f"more than {MOST_MEMBERS} gzip members"),
    ],
)
def test_a_body_that_contradicts_its_encoding_is_refused(body: bytes, encoding: str, message: str) -> None:
    with pytest.raises(WrongEncodingError, match=message):
        expanded(body, encoding)


def test_a_completed_request_expands_no_further() -> None:
    held = MemoryBudget(10 * LIMIT)
    holding = RequestMemory(held)
    holding.release()
    with pytest.raises(ProblemError, match="was answered"):
        expand(gzip.compress(PNG), "gzip", LIMIT, holding)
    assert held.held == 0


# Requests over HTTP.


@pytest.fixture
def bodies() -> dict[str, tuple[bytes, str]]:
    form = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + PNG + b"\r\n--x--\r\n"
    return {
        "raw": (PNG, "image/png"),
        "JSON": (b'{"image":"%s"}' % base64.b64encode(PNG), "application/json"),
        "form": (form, "multipart/form-data; boundary=x"),
    }


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/compare?variants=mean,float"])
@pytest.mark.parametrize("given", ["gzip", "GZIP", "x-gzip", "identity, gzip", "deflate", " deflate ,"])
@pytest.mark.parametrize("form", ["raw", "JSON", "form"])
def test_compressed_images_are_accepted(
    client: TestClient, bodies: dict[str, tuple[bytes, str]], form: str, given: str, path: str
) -> None:
    body, content_type = bodies[form]
    pack = gzip.compress if "gzip" in given.lower() else zlib.compress
    headers = {"Content-Type": content_type}
    plain = client.post(path, content=body, headers=headers)
    packed = client.post(path, content=pack(body), headers={**headers, "Content-Encoding": given})
    assert plain.status_code == packed.status_code == 200
    key = "predictions" if "predictions" in plain.json() else "agreement"
    assert packed.json()[key] == plain.json()[key]


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/compare", "/v2/models/colours/infer", "/v2/repository/index"])
@pytest.mark.parametrize("given", ["br", "zstd", "compress", "gzip, gzip", "gzip, deflate", "nonsense"])
def test_an_unsupported_encoding_is_415_and_lists_the_supported_ones(client: TestClient, path: str, given: str) -> None:
    refused = client.post(path, content=PNG, headers={"Content-Encoding": given})
    assert refused.status_code == 415
    assert refused.headers["Accept-Encoding"] == "gzip, deflate"
    assert f"Content-Encoding {given!r} is not supported; expected gzip or deflate, once" in str(
        refused.json().values()
    )


def test_several_header_lines_are_several_encodings(client: TestClient) -> None:
    headers = [("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")]
    assert client.post("/v1/classify", content=PNG, headers=headers).status_code == 415
    assert client.post("/v1/classify", content=PNG, headers={"Content-Encoding": "identity"}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/compare", "/v2/models/colours/infer"])
def test_a_body_that_contradicts_its_encoding_is_400_and_one_that_expands_too_far_413(
    client: TestClient, path: str
) -> None:
    wrong = client.post(path, content=PNG, headers={"Content-Encoding": "gzip"})
    assert (wrong.status_code, "contrary to its Content-Encoding" in wrong.text) == (400, True)
    bomb = client.post(path, content=gzip.compress(bytes(50_000_000)), headers={"Content-Encoding": "gzip"})
    assert (bomb.status_code, "expands to more than the 1000000 bytes" in bomb.text) == (413, True)


def test_a_repository_request_may_be_compressed(client: TestClient) -> None:
    headers = {"Content-Encoding": "gzip"}
    plain = client.post("/v2/repository/index", content=b'{"ready": true}').json()
    assert (
        client.post("/v2/repository/index", content=gzip.compress(b'{"ready": true}'), headers=headers).json() == plain
    )
    bomb = client.post("/v2/repository/index", content=gzip.compress(bytes(1_000_000)), headers=headers)
    assert bomb.status_code == 413
