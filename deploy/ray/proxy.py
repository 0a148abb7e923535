"""Middleware of Ray's HTTP proxy: retry of a request on another replica, once, if its replica ended without a response.

Ray 2.60 responds to such a request with 500. Proxies load the middleware by
RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH, with the root of the repository on PYTHONPATH. All requests are idempotent,
so each may be retried.
"""

import uuid

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems.rendering import error_answer, path_of
from service.problems.server_errors import NotReadyError

MOST_BYTES = 16_777_216
"""Largest body kept for a retry, the default of MAX_BODY_BYTES."""


def middlewares() -> list[Middleware]:
    """Return the middlewares that Ray adds to its proxies."""
    return [Middleware(RepeatOnce)]


class RepeatOnce:
    """Retry, with a new deadline, of a request without a response; if that fails too, 503 with Retry-After.

    There is only one retry, so that a request that crashes replicas does not crash all of them. A request is not
    retried if its client has disconnected or its response has started.

    Args:
        app: Ray's proxy, which returns without a response if the replica ended.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        attempt = _Attempt(receive, send)
        for _ in range(2):
            await self._app({**scope, "headers": list(scope["headers"])}, attempt.receive, attempt.send)
            if attempt.over:
                return
            attempt.rewind()
            if not attempt.whole:
                break
        lost = NotReadyError("the replica ended before it responded; send the request again")
        identity = Request(scope).headers.get("x-request-id") or uuid.uuid4().hex
        await error_answer(lost, path_of(scope), identity)(scope, receive, send)


class _Attempt:
    """Messages between client and proxy, kept for a retry.

    Attributes:
        over: no retry is possible, because the response has started or the client has disconnected.
        whole: all of the body received so far is kept.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self.over, self.whole = False, True
        self._receive, self._send = receive, send
        self._kept: list[Message] = []
        self._size = self._next = 0

    async def receive(self) -> Message:
        """Return the next message of the request; after `rewind`, the kept ones first."""
        if self._next == len(self._kept):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.over = True
                return message
            self._size += len(message.get("body", b""))
            if self._size > MOST_BYTES:
                self.whole = False
                self._kept.clear()
                self._next = 0
                return message
            self._kept.append(message)
        self._next += 1
        return self._kept[self._next - 1]

    async def send(self, message: Message) -> None:
        """Send a message of the response to the client."""
        self.over = True
        await self._send(message)

    def rewind(self) -> None:
        """Restart with the first message of the request."""
        self._next = 0
