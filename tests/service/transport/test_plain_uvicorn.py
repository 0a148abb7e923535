"""Features of the connection guard that plain uvicorn lacks, as documented."""

import pytest
from starlette.types import Receive, Scope, Send

from tests.service.transport.apps import MAX_HEADER_BYTES, after, answering, served, statuses

pytestmark = pytest.mark.slow

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nbody"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond with the body of the request."""
    message = await receive() if scope["method"] == "POST" else {}
    body = message.get("body", b"")
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("plain", [False, True], ids=["guard", "plain uvicorn"])
def test_plain_uvicorn_lacks_the_documented_features(plain: bool) -> None:
    """See docs/operations.md, "Limits that a proxy can take over"."""
    large = GET[:-2] + b"X-Large: " + bytes(2 * MAX_HEADER_BYTES).replace(b"\0", b"x") + b"\r\n\r\n"
    with served(echo, plain=plain) as server:
        with server.connect() as connection:
            connection.sendall(large)
            assert statuses(connection.recv(65536)) == [200 if plain else 431]
        with server.connect() as connection:
            connection.sendall(UPGRADE)
            assert connection.recv(65536).endswith(b"body") != plain
    with served(answering(after(0.2)), plain=plain) as server:
        assert statuses(server.exchange(GET, half_close=True)) == ([] if plain else [200])
