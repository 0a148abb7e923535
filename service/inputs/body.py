"""Reading a request's body, never more of it than the limit."""

from starlette.requests import ClientDisconnect, Request

from service.errors import BodyTooLargeError, IncompleteBodyError


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body, at most `limit` bytes.

    Raises:
        BodyTooLargeError: Content-Length is over the limit, and nothing was read; or it was not given, and reading
            stopped at the limit.
        IncompleteBodyError: the client closed the connection before its body was complete.
    """
    declared = request.headers.get("content-length")
    if declared is not None and int(declared) > limit:
        raise BodyTooLargeError(
            f"the body has {declared} bytes, {limit} are allowed; scale the image down", limit=limit
        )
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise BodyTooLargeError(
                    f"the body has more than the {limit} bytes allowed; scale the image down", limit=limit
                )
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise IncompleteBodyError("the connection closed before the body was complete; send it again") from error
    return b"".join(chunks)
