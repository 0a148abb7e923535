"""Requests to an app as an ASGI server sends them, with control over when the client disconnects."""

import asyncio
from typing import Any

from starlette.types import ASGIApp


async def post(app: ASGIApp, path: str, body: bytes, disconnected: asyncio.Event) -> list[Any]:
    """Send a request whose client disconnects when the event is set, and return the messages of the response."""
    messages: list[Any] = []
    received = [{"type": "http.request", "body": body}]

    async def receive() -> Any:  # noqa: ANN401 -- an ASGI message
        if received:
            return received.pop()
        await disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:  # noqa: ANN401
        messages.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    await app({**scope, "headers": []}, receive, send)
    return messages
