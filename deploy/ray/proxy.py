"""Middleware of Ray's HTTP proxy: a request whose replica ended before it answered is sent to another replica, once.

Ray 2.60 answers such a request 500. Its proxies load this from RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH, and they need
the root of the repository on their path. Every request may be repeated, because none of them changes the response to
another.
"""

import uuid

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems.rendering import error_answer, path_of
from service.problems.server_errors import NotReadyError

MOST_BYTES = 16_777_216
"""Largest body that is kept for a second attempt, the same as MAX_BODY_BYTES."""


def middlewares() -> list[Middleware]:
    """Return what Ray adds to its proxies."""
    return [Middleware(RepeatOnce)]


class RepeatOnce:
    """Sends a request again, with a new deadline, if there was no answer; the next time it is 503 with Retry-After.

    It is repeated once only: a request that ends every replica it reaches must not reach them all. It is not repeated
    if its client left, or its answer had begun.

    Args:
        app: Ray's proxy. It returns without an answer if the replica ended.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
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
        lost = NotReadyError("the replica that had this request ended before it answered; send the request again")
        identity = Request(scope).headers.get("x-request-id") or uuid.uuid4().hex
        await error_answer(lost, path_of(scope), identity)(scope, receive, send)


class _Attempt:
    """Messages between a client and the proxy, kept for a second time.

    Attributes:
        over: nothing can be repeated, because the answer has begun or the client has left.
        whole: the body is kept as far as it was received.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self.over, self.whole = False, True
        self._receive, self._send = receive, send
        self._kept: list[Message] = []
        self._size = self._next = 0

    async def receive(self) -> Message:
        """Return the next part of the request, first of all those received before."""
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
        """Pass on a part of the answer."""
        self.over = True
        await self._send(message)

    def rewind(self) -> None:
        """Begin again with the first part of the request."""
        self._next = 0
