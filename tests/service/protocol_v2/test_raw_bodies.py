"""Requests whose body is one tensor or one image file, and binary tensors of files."""

import gzip
import json
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.service.pictures import encode, png_claiming
from tests.service.protocol_v2.answers import expected_logits, floats, pixels
from tests.service.protocol_v2.wire import FLOAT, HEADER, MEAN, PNG, error_message, logits, send_raw


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_raw_image_file_is_recognised_by_its_first_bytes(client: TestClient, kind: str) -> None:
    file = encode(pixels(1)[0], kind)
    found = logits(send_raw(client, file))
    assert len(found) == 4
    query = "/v1/classify?variant=mean&version=1&top_k=4"
    ranked = client.post(query, content=file).json()["predictions"]
    assert [p["index"] for p in ranked] == sorted(range(4), key=lambda index: -found[index])


def test_a_raw_body_may_be_the_tensor_itself(client: TestClient) -> None:
    images = pixels(3)
    found = logits(send_raw(client, images.tobytes()))
    np.testing.assert_allclose(found, np.ravel(expected_logits(images)), rtol=1e-5)
    numbers = floats(2)
    found = logits(send_raw(client, numbers.astype("<f4").tobytes(), FLOAT))
    np.testing.assert_allclose(found, np.ravel(expected_logits(numbers)), rtol=1e-5)


def test_a_raw_body_with_an_image_content_type_is_a_file(client: TestClient) -> None:
    assert "not an image" in error_message(send_raw(client, pixels(1).tobytes(), **{"Content-Type": "image/png"}), 400)
    assert len(logits(send_raw(client, pixels(1).tobytes()))) == 4


def test_a_raw_body_that_is_neither_file_nor_tensor_is_400(client: TestClient) -> None:
    assert "neither an image file nor whole images of 144 bytes, UINT8 [8, 6, 3]" in error_message(
        send_raw(client, b"x"), 400
    )
    assert "neither" in error_message(send_raw(client, b""), 400)
    assert "1 to 8" in error_message(send_raw(client, bytes(144 * 9)), 400)
    assert "damaged" in error_message(send_raw(client, PNG[:60]), 400)
    assert "pixels" in error_message(send_raw(client, png_claiming(50_000, 50_000)), 413)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_compressed_body_is_expanded_up_to_the_limit_only(client: TestClient, pack: Callable[[bytes], bytes]) -> None:
    encoding = {"Content-Encoding": "gzip" if pack is gzip.compress else "deflate"}
    whole = pack(pixels(1).tobytes())
    assert len(logits(send_raw(client, whole, **encoding))) == 4
    assert "truncated" in error_message(send_raw(client, whole[:-3], **encoding), 400)
    assert "is not" in error_message(send_raw(client, b"plain", **encoding), 400)
    assert "expands to more" in error_message(send_raw(client, pack(bytes(50_000_000)), **encoding), 413)
    refused = send_raw(client, whole, **{"Content-Encoding": "br"})
    assert "'br' is not supported" in error_message(refused, 415)
    assert refused.headers["Accept-Encoding"] == "gzip, deflate"


def test_a_raw_body_gets_a_binary_output(client: TestClient) -> None:
    response = send_raw(client, PNG)
    assert response.headers["content-type"] == "application/octet-stream"
    (output,) = json.loads(response.content[: int(response.headers[HEADER])])["outputs"]
    assert output["parameters"] == {"binary_data_size": 16}
    assert "data" not in output


def test_a_body_over_the_limit_is_413(client: TestClient) -> None:
    assert "1000000" in error_message(client.post(MEAN, content=bytes(1_000_001)), 413)


@pytest.mark.parametrize(
    "head",
    [
        *(b"II+\0\x08\0\0\0", b"\0\0\0\x1cftypavif", b"\0\0\0\x18ftypheic", b"\0\0\0\x14ftypmif1"),
        *(
            b"\0\0\0\x0cJXL \r\n\x87\n",
            b"\xff\x0a\xfa",
            b"\0\0\0\x0cjP  \r\n\x87\n",
            b"%PDF-1.7",
            b"<svg xmlns",
            b"8BPS\0\1",
        ),
    ],
)
def test_a_raw_body_that_starts_like_an_image_file_gets_the_decoders_message(client: TestClient, head: bytes) -> None:
    message = error_message(send_raw(client, head + bytes(144 - len(head))), 400)
    assert "neither an image file nor whole images" not in message
    assert message == error_message(send_raw(client, head + bytes(144 - len(head)), **{"Content-Type": "image/x"}), 400)


def test_a_raw_body_may_be_a_bigtiff(client: TestClient) -> None:
    file = encode(pixels(1)[0], "TIFF", big_tiff=True)
    assert file.startswith(b"II+\0")
    np.testing.assert_allclose(logits(send_raw(client, file)), expected_logits(pixels(1))[0], rtol=1e-5)
