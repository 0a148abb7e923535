"""Protocol requests written by hand, and the contents of their responses."""

import json

import httpx2
from fastapi.testclient import TestClient

from tests.service.pictures import encode
from tests.service.protocol_v2.answers import document_of, pixels

MEAN = "/v2/models/colours@mean/versions/1/infer"
FLOAT = "/v2/models/colours@float/infer"
HEADER = "Inference-Header-Content-Length"
IMAGE = {"name": "image", "shape": [1, 8, 6, 3], "datatype": "UINT8"}
FILE = {"name": "image_bytes", "shape": [1], "datatype": "BYTES"}
PNG = encode(pixels(1)[0])


def send(client: TestClient, document: object, tensors: bytes = b"", path: str = MEAN) -> httpx2.Response:
    """Send JSON followed by binary tensors."""
    header = document if isinstance(document, bytes) else json.dumps(document).encode()
    return client.post(path, content=header + tensors, headers={HEADER: str(len(header))})


def send_raw(client: TestClient, body: bytes, path: str = MEAN, **headers: str) -> httpx2.Response:
    return client.post(path, content=body, headers={HEADER: "0", **headers})


def logits(response: httpx2.Response) -> list[float]:
    assert response.status_code == 200, response.text
    (output,) = document_of(response)["outputs"]
    assert (output["name"], output["datatype"]) == ("logits", "FP32")
    found: list[float] = output["data"]
    return found


def error_message(response: httpx2.Response, status: int) -> str:
    """Return the message of an error."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error"}
    assert "Traceback" not in response.text
    message: str = response.json()["error"]
    return message


FLAT = [0] * 144
