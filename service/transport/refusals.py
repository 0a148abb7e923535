"""Refusals below the application: malformed, late and too large requests, and connections over the limit."""

import secrets
from collections.abc import Iterable
from http import HTTPStatus

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

from service.problems.errors import ProblemError
from service.problems.rendering import error_answer
from service.transport.cors import Origins

Headers = Iterable[tuple[bytes, bytes]]


def raw_answer(error: ProblemError, path: str, received: Headers, origins: Origins | None) -> bytes:
    """Return a complete response as bytes, with `Connection: close`.

    Args:
        error: the error.
        path: path of the request, as far as known; it determines the form of the response.
        received: headers of the request, as far as known, in lower case.
        origins: origins with pages that may read the response.
    """
    status = HTTPStatus(error.status)
    headers, body = _answer(error, path, received, origins)
    lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode()), *(b"%s: %s" % item for item in headers.items())]
    return b"\r\n".join([*lines, b"", body])


def refusing(error: ProblemError, origins: Origins | None) -> ASGI3Application:
    """Return an application that answers with an error, and closes the connection."""

    async def refuse(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:  # noqa: ARG001
        assert scope["type"] == "http"
        headers, body = _answer(error, scope["path"], scope["headers"], origins)
        await send({"type": "http.response.start", "status": error.status, "headers": headers.items()})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return refuse


def _answer(
    error: ProblemError, path: str, received: Headers, origins: Origins | None
) -> tuple[dict[bytes, bytes], bytes]:
    request_id = secrets.token_hex(16)
    answer = error_answer(error, path, request_id)
    shared = {} if origins is None else origins.headers(dict(received).get(b"origin", b"").decode("latin-1"))
    headers = {b"x-request-id": request_id.encode(), b"connection": b"close", **shared, **dict(answer.raw_headers)}
    return headers, bytes(answer.body)
