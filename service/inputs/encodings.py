"""Compressed bodies (Content-Encoding: RFC 9110, section 8.4): gzip and deflate.

A body is decompressed in pieces, up to the limit, and the result counts as memory of its request. `gzip`
may have several members (RFC 1952, section 2.2), `deflate` is zlib's format (RFC 1950) or, as some clients have it, the
bare one (RFC 1951).
"""

import io
import zlib
from collections.abc import Callable

from starlette.requests import Request

from service.inputs.forms import Extract
from service.inputs.headers import header
from service.problems.client_errors import BodyTooLargeError, UnsupportedEncodingError, WrongEncodingError
from service.resources.memory import RequestMemory
from service.telemetry.record import record_of

Expand = Callable[[bytes], bytes]
"""Function that decompresses a body; raises as `expand`."""

_NAMES = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
_GZIP, _ZLIB, _BARE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_PIECE = 65_536
MOST_MEMBERS = 1000
"""Limit for one gzip body: 16 MiB of empty members would take seconds."""


def expander(request: Request, limit: int) -> Expand | None:
    """Return a function that expands the request's body to at most `limit` bytes; None if it is not compressed.

    Raises:
        UnsupportedEncodingError: the compression is not supported, or is applied more than once.
    """
    if header(request.scope, b"content-encoding") is None:
        return None
    given = ", ".join(request.headers.getlist("content-encoding"))
    encodings = [name for part in given.split(",") if (name := part.strip().lower()) not in {"", "identity"}]
    if not encodings:
        return None
    if len(encodings) > 1 or encodings[0] not in _NAMES:
        raise UnsupportedEncodingError(
            f"Content-Encoding {given[:200]!r} is not supported; expected gzip or deflate, once, or none"
        )
    memory = record_of(request.scope).memory
    return lambda body: expand(body, _NAMES[encodings[0]], limit, memory)


def expanded(extract: Extract, expand: Expand | None) -> Extract:
    """Return an extraction from the compressed body, given one from the expanded body."""
    return extract if expand is None else lambda body: extract(expand(body))


def expand(body: bytes, encoding: str, limit: int, memory: RequestMemory) -> bytes:
    """Decompress a body.

    Args:
        body: as sent.
        encoding: gzip or deflate.
        limit: maximum size of the expanded body in bytes; expansion stops there.
        memory: memory of the request.

    Raises:
        BodyTooLargeError: the expanded body is over the limit.
        MemoryFullError, TooLargeToHoldError: there is not enough memory.
        WrongEncodingError: the body does not have this encoding, is truncated, or has trailing bytes.
    """
    wrong = f"the body is not {encoding}, contrary to its Content-Encoding"
    source, out, members = memoryview(body), io.BytesIO(), 0
    begin = 0
    while begin < len(source) or not members:
        members += 1
        if members > MOST_MEMBERS:
            raise WrongEncodingError(f"the body has more than {MOST_MEMBERS} gzip members; compress it as one")
        machine = zlib.decompressobj(_GZIP if encoding == "gzip" else _deflate_format(body))
        while not machine.eof:
            piece = machine.unconsumed_tail or source[begin : begin + _PIECE]
            begin += 0 if machine.unconsumed_tail else len(piece)
            try:
                found = machine.decompress(piece, _PIECE)
            except zlib.error as error:
                raise WrongEncodingError(f"{wrong} ({error})") from error
            if not (piece or found or machine.eof):
                raise WrongEncodingError(f"{wrong}: it is truncated; send all of it")
            if out.tell() + len(found) > limit:
                raise BodyTooLargeError(
                    f"the body expands to more than the {limit} bytes allowed; send less at a time", limit=limit
                )
            memory.grow(len(found))
            out.write(found)
        begin -= len(machine.unused_data)
        if encoding == "deflate" and begin < len(source):
            raise WrongEncodingError(f"{wrong}: {len(source) - begin} bytes follow its end")
    return out.getvalue()


def _deflate_format(body: bytes) -> int:
    """Return zlib's number of the format; a zlib header is a multiple of 31 with the method in its first byte."""
    is_zlib = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0
    return _ZLIB if is_zlib else _BARE
