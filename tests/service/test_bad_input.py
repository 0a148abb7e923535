"""Every kind of invalid request: an error of the documented form, after which the server still works."""

import base64
from collections.abc import Callable
from typing import Any, Unpack

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.service.pictures import (
    encode,
    png_claiming,
    random_pixels,
    truncated_jpeg,
    webp_claiming,
    with_broken_pixel_checksum,
)
from tests.service.requests import Request

PNG = encode(random_pixels())
RAW = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
PART = {"Content-Type": "multipart/form-data; boundary=b"}


def problem(client: TestClient, status: int, query: str = "", **request: Unpack[Request]) -> dict[str, Any]:
    """Send a request, check the fields common to all problems, and check that a valid request succeeds afterwards."""
    response = client.post(f"/v1/classify?{query}", **request)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["status"] == status
    assert found["id"] == response.headers["X-Request-Id"]
    assert found["type"].startswith("urn:posbake:problem:")
    assert found["title"]
    assert found["detail"]
    assert "Traceback" not in response.text
    assert client.post("/v1/classify", content=PNG).status_code == 200
    return found


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "empty"),
        (b"hello, I am a picture", "not an image"),
        (truncated_jpeg(), "truncated"),
        (PNG[: len(PNG) // 2], "damaged"),
        (with_broken_pixel_checksum(PNG), "IDAT"),
        (b"%PDF-1.7 \n", "not a supported image"),
    ],
    ids=["empty", "text", "truncated JPEG", "truncated PNG", "broken checksum", "PDF"],
)
def test_a_body_that_is_not_an_image_is_400_and_lists_supported_formats(
    client: TestClient, body: bytes, detail: str
) -> None:
    for request in (
        {"content": body, "headers": RAW},
        {"files": {"image": ("image", body)}},
        {"json": {"image": base64.b64encode(body).decode()}},
    ):
        found = problem(client, 400, **request)
        assert detail in found["detail"]
        assert "expected a JPEG, PNG, WebP, AVIF, BMP, GIF or TIFF" in found["detail"]


@pytest.mark.parametrize(
    ("query", "known"),
    [
        ("model=birds", ["colours"]),
        ("model=birds&variant=mean&version=1", ["colours"]),
        ("variant=rope", ["float", "mean", "nan"]),
        ("variant=mean&version=3", [1, 2, 10]),
        ("version=3", [1, 2, 10]),
        ("model=", ["colours"]),
    ],
)
def test_an_unknown_name_is_404_and_lists_the_known_names(
    client: TestClient, query: str, known: list[str | int]
) -> None:
    found = problem(client, 404, query, content=PNG)
    assert found["known"] == known
    assert all(str(name) in found["detail"] for name in known)


def test_a_body_of_exactly_the_limit_is_allowed(client: TestClient) -> None:
    at_the_limit = PNG + b"\0" * (1_000_000 - len(PNG))
    assert client.post("/v1/classify", content=at_the_limit).status_code == 200
    problem(client, 413, content=at_the_limit + b"\0")


@pytest.mark.parametrize("headers", [RAW, JSON, PART])
def test_a_chunked_body_over_the_limit_is_413(client: TestClient, headers: dict[str, str]) -> None:
    found = problem(client, 413, content=iter([b"x" * 65536] * 32), headers=headers)
    assert found["limit"] == 1_000_000


@pytest.mark.parametrize(
    ("make", "width", "height"),
    [
        (png_claiming, 50_000, 50_000),
        (png_claiming, 16_000, 8_000),
        (png_claiming, 10_000, 5_001),
        (webp_claiming, 50_000, 50_000),
    ],
)
def test_too_many_pixels_are_413_before_decoding(
    client: TestClient, make: Callable[[int, int], bytes], width: int, height: int
) -> None:
    """The sizes are above and below twice the limit, where Pillow raises an error instead of a warning."""
    body = make(width, height)
    assert len(body) < 1000
    assert problem(client, 413, content=body)["limit"] == 50_000_000


@pytest.mark.parametrize(
    "query", ["top_k=0", "top_k=x", "top_k=-1", "top_k=", "top_k=1.5", "version=0", "version=x", "version=-1"]
)
def test_a_parameter_out_of_range_is_422_and_named(client: TestClient, query: str) -> None:
    found = problem(client, 422, query, content=PNG)
    name, _, given = query.partition("=")
    assert found["detail"].startswith(f"{name}={given}")
    assert found["parameters"][0]["parameter"] == name


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"image"',
        b"{}",
        b'{"image": null}',
        b'{"image": 7}',
        b'{"image": "not base64!"}',
        b'{"image": "QUJDR"}',
        b'{"image": ["QUJD"]}',
        b'{"image": "QUJD", "image": "QUJE"}',
        '{"image": "été"}'.encode(),
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_broken_json_or_base64_is_422(client: TestClient, body: bytes) -> None:
    assert '{"image": "<base64' in problem(client, 422, content=body, headers=JSON)["detail"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", PART["Content-Type"]),
        (b"no parts at all", PART["Content-Type"]),
        (b"--b\r\nContent-Disposition: form-data; name=image\r\n\r\nabc", PART["Content-Type"]),
        (b'--b\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n1\r\n--b--\r\n', PART["Content-Type"]),
        (b"--b\r\n\r\nabc\r\n--b--\r\n", PART["Content-Type"]),
        (b"--b\r\nContent-Disposition: form-data; name=image\r\n\r\nabc\r\n" * 2 + b"--b--\r\n", PART["Content-Type"]),
        (b"--b\r\n\r\nabc\r\n--b--\r\n", "multipart/form-data"),
        (b"--b\r\n\r\nabc\r\n--b--\r\n", "multipart/form-data; boundary=" + "b" * 300),
    ],
    ids=["empty", "no part", "cut off", "no image", "no name", "two images", "no boundary", "long boundary"],
)
def test_broken_multipart_is_422(client: TestClient, body: bytes, content_type: str) -> None:
    found = problem(client, 422, content=body, headers={"Content-Type": content_type})
    assert 'field "image"' in found["detail"]


@pytest.mark.parametrize("kind", ["application/xml", "text/plain", "application/x-www-form-urlencoded", "nonsense"])
def test_an_unsupported_content_type_is_415_and_lists_the_supported_ones(client: TestClient, kind: str) -> None:
    found = problem(client, 415, content=PNG, headers={"Content-Type": kind})
    assert kind in found["detail"]
    assert found["supported"] == ["image/*", "application/octet-stream", "multipart/form-data", "application/json"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/classify", 405),
        ("GET", "/v1/models/birds", 404),
        ("GET", "/v1/models/colours/variants/rope", 404),
        ("GET", "/v1/latency?model=birds", 404),
        ("GET", "/v1/latency?variant=rope", 404),
    ],
)
def test_routing_errors_are_problems(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    if status == 405:
        assert response.headers["allow"] == "POST"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of damage that it repairs
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_randomly_damaged_file_gets_200_or_a_4xx(client: TestClient, kind: str) -> None:
    random = np.random.default_rng(7)
    whole = np.frombuffer(encode(random_pixels(24, 24), kind), np.uint8)
    for _ in range(150):
        damaged = whole[: random.integers(1, len(whole) + 1)].copy()
        places = random.integers(0, min(len(damaged), int(random.choice([64, 10_000]))), random.integers(0, 5))
        damaged[places] = random.integers(0, 256, len(places))
        assert client.post("/v1/classify", content=damaged.tobytes()).status_code in {200, 400, 413}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/classify?model=", 404),
        ("POST", "/v1/classify?variant=", 404),
        ("POST", "/v1/compare?variants=", 404),
        ("POST", "/v1/compare?top_k=1&variants=" + "," * 9000, 422),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/models/colours/variants/", 404),
        ("GET", "/v1/models/colours/variants/mean/samples/", 404),
        ("GET", "/v2/models/colours@", 404),
        ("GET", "/v2/models/colours/versions/", 404),
        ("GET", "/", 404),
        ("DELETE", "/v1/models/", 405),
    ],
)
def test_a_long_name_is_truncated_in_the_message(client: TestClient, method: str, path: str, status: int) -> None:
    long = path if path.endswith(",") else path + "x" * 9000
    answer = client.request(method, long, content=PNG if method == "POST" else None)
    assert answer.status_code == status
    assert len(answer.json()["error" if path.startswith("/v2") else "detail"]) < 500


def test_a_long_variant_of_an_inference_request_is_truncated_in_the_message(client: TestClient) -> None:
    tensor = {"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(PNG).decode()]}
    for name in ("colours", "colours@mean"):
        answer = client.post(
            f"/v2/models/{name}/infer", json={"parameters": {"variant": "x" * 500_000}, "inputs": [tensor]}
        )
        assert answer.status_code in {400, 404}
        assert len(answer.content) < 500
