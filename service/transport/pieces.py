"""Responses in pieces, each sent when the client has taken most of the one before.

A body that is sent at once is kept by the server until the client has taken it, although the request has ended and its
memory is released.
"""

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

PIECE = 65_536
"""Size of a piece in bytes."""


class PiecewiseResponse(Response):
    """Response that ends when all but the last pieces of its body are sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI's
        """Send the headers and the pieces."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body) or 1, PIECE):
            end = start + PIECE
            await send({"type": "http.response.body", "body": self.body[start:end], "more_body": end < len(self.body)})
