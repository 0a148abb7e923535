"""A URL in place of an image is refused and never fetched."""

import base64
import socket
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        yield listener


def test_a_url_is_refused_and_not_fetched(client: TestClient, listener: socket.socket) -> None:
    address = "{}:{}".format(*listener.getsockname())
    for image in (f"http://{address}/x.png", f"https://{address}/", f"//{address}/", "file:///etc/hostname", "data:,x"):
        refused = client.post("/v1/classify", json={"image": image})
        assert refused.status_code == 422
        assert "not base64" in refused.json()["detail"]
    hidden = base64.b64encode(f"http://{address}/x.png".encode()).decode()
    assert client.post("/v1/classify", json={"image": hidden}).status_code == 400
    assert client.post("/v1/classify", content=f"http://{address}/x.png").status_code == 400
    with pytest.raises(TimeoutError):
        listener.accept()
    with socket.create_connection(listener.getsockname()):  # the listener accepts connections
        listener.accept()[0].close()
