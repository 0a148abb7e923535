"""An inference request's body: JSON, then binary tensors, and a header that says where the one ends."""

import re
import zlib
from dataclasses import dataclass

from service.errors import BodyTooLargeError
from service.protocol_v2.errors import ProtocolError

HEADER_LENGTH = "Inference-Header-Content-Length"

_EITHER = 32 + zlib.MAX_WBITS  # zlib recognises gzip and deflate by their first bytes
_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class Envelope:
    """What a body holds; `document` is None for a raw body, which is all tensor."""

    document: bytes | None
    tensors: memoryview


def open_envelope(body: bytes, header_length: str | None) -> Envelope:
    """Return the two parts of a body.

    Args:
        body: uncompressed.
        header_length: bytes of JSON, as HEADER_LENGTH says; None if that was not sent: then all is JSON.

    Raises:
        ProtocolError: the length is not one.
    """
    if header_length is None:
        return Envelope(body, memoryview(b""))
    if not _DIGITS.fullmatch(header_length) or int(header_length) > len(body):
        raise ProtocolError(
            f"{HEADER_LENGTH} is {header_length!r}, expected the bytes of JSON before the binary tensors, at most the "
            f"body's {len(body)}, or 0 for a raw body"
        )
    end = int(header_length)
    return Envelope(body[:end] if end else None, memoryview(body)[end:])


def uncompressed(body: bytes, encoding: str | None, limit: int) -> bytes:
    """Return a body as it was before `encoding`, the Content-Encoding: gzip, deflate, identity or None.

    Raises:
        BodyTooLargeError: it would have more than `limit` bytes; no more than that is expanded.
        ProtocolError: the encoding is another one, or the body is not encoded so.
    """
    if encoding is None or encoding.lower() == "identity":
        return body
    if encoding.lower() not in {"gzip", "deflate"}:
        raise ProtocolError(f"Content-Encoding {encoding!r} is not supported; expected gzip, deflate or none")
    expander = zlib.decompressobj(_EITHER)
    try:
        expanded = expander.decompress(body, limit + 1)
    except zlib.error as error:
        raise ProtocolError(f"the body is not {encoding} as its Content-Encoding says ({error})") from error
    if len(expanded) > limit:
        raise BodyTooLargeError(f"the body expands to more than the {limit} bytes allowed; send fewer images at a time")
    if not expander.eof:
        raise ProtocolError(f"the body is not {encoding} as its Content-Encoding says: it is cut off")
    return expanded
