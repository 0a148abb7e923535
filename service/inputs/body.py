"""Request bodies, read within the size limit and the memory budget."""

import io

from starlette.requests import Request

from service.inputs.headers import header
from service.problems.client_errors import BodyTooLargeError, IncompleteBodyError
from service.telemetry.record import record_of


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body, at most `limit` bytes, which count as memory of the request until it is answered.

    Raises:
        BodyTooLargeError: Content-Length is over the limit, and nothing was read; or without Content-Length, reading
            stopped at the limit.
        MemoryFullError, TooLargeToHoldError: there is not enough memory; with Content-Length, nothing was read.
        IncompleteBodyError: the client closed the connection before its body was complete.
    """
    memory = record_of(request.scope).memory
    length = header(request.scope, b"content-length")
    declared = None if length is None else int(length)
    if declared is not None:
        if declared > limit:
            raise BodyTooLargeError(
                f"the body has {declared} bytes, at most {limit} are allowed; scale the image down", limit=limit
            )
        memory.grow(declared)
    read = io.BytesIO()  # returns its bytes at the end without the copy of joining chunks
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise IncompleteBodyError("the connection was closed before the body was complete; send it again")
        chunk: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size = read.tell() + len(chunk)
        if size > limit:
            raise BodyTooLargeError(
                f"the body has more than the {limit} bytes allowed; scale the image down", limit=limit
            )
        if declared is None:
            memory.grow(len(chunk))
        if size == len(chunk) and not more:
            return chunk  # the whole body in one chunk
        read.write(chunk)
    return read.getvalue()
