"""JSON and forms under /v1: base64, byte order marks, transfer encodings."""

import base64
from typing import Unpack

import httpx2
import pytest
from fastapi.testclient import TestClient

from tests.service.pictures import encode, random_pixels
from tests.service.requests import Request

PNG = encode(random_pixels())
B64 = base64.b64encode(PNG).decode()


def refused(response: httpx2.Response, status: int = 422) -> str:
    assert response.status_code == status, response.text
    detail: str = response.json()["detail"]
    return detail


def post(client: TestClient, **request: Unpack[Request]) -> httpx2.Response:
    return client.post("/v1/classify", **request)


@pytest.mark.parametrize(
    "text",
    [
        B64,
        f"data:image/png;base64,{B64}",
        base64.urlsafe_b64encode(PNG).decode().rstrip("="),
        base64.encodebytes(PNG).decode(),
        base64.encodebytes(PNG).decode().replace("\n", "\r\n"),
    ],
    ids=["base64", "data URI", "base64url", "lines", "CRLF"],
)
def test_every_variant_of_base64_is_accepted_in_json(client: TestClient, text: str) -> None:
    assert post(client, json={"image": text}).status_code == 200


def test_json_may_begin_with_a_byte_order_mark(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    body = f'{{"image": "{B64}", "variant": "mean"}}'
    assert post(client, content=b"\xef\xbb\xbf" + body.encode(), headers=headers).json()["variant"] == "mean"
    assert "UTF-16; send it as UTF-8" in refused(post(client, content=body.encode("utf-16"), headers=headers))


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "binary"])
def test_a_form_parts_transfer_encoding_is_decoded(client: TestClient, encoding: str) -> None:
    written = {"base64": base64.encodebytes(PNG), "binary": PNG}.get(
        encoding, b"".join(b"=%02X" % byte for byte in PNG)
    )
    head = f'--b\r\nContent-Disposition: form-data; name="image"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert post(client, content=head.encode() + written + b"\r\n--b--", headers=headers).status_code == 200
    unknown = head.replace(encoding, "x-mine").encode() + written + b"\r\n--b--"
    assert "'x-mine' is not supported; expected binary, base64" in refused(
        post(client, content=unknown, headers=headers)
    )
