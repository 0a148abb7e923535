"""Body of an inference request: JSON, then binary tensors; a header has the length of the JSON."""

import re
from dataclasses import dataclass

from service.problems.client_errors import ProtocolError

HEADER_LENGTH = "Inference-Header-Content-Length"

_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class Envelope:
    """Parts of a body; `document` is None for a raw body, which is all tensor."""

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
