"""Body of an inference request: JSON, then binary tensors; a header gives the length of the JSON."""

import re
from dataclasses import dataclass

from service.problems.client_errors import ProtocolError

HEADER_LENGTH = "Inference-Header-Content-Length"

_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class Envelope:
    """Parts of a body; `document` is None for a raw body, which has no JSON."""

    document: bytes | None
    tensors: memoryview


def open_envelope(body: bytes, header_length: str | None) -> Envelope:
    """Return the two parts of a body.

    Args:
        body: decompressed body.
        header_length: value of HEADER_LENGTH, the size of the JSON in bytes; None if the whole body is JSON.

    Raises:
        ProtocolError: the length is invalid.
    """
    if header_length is None:
        return Envelope(body, memoryview(b""))
    if not _DIGITS.fullmatch(header_length) or int(header_length) > len(body):
        raise ProtocolError(
            f"{HEADER_LENGTH} is {header_length!r}, expected the size of the JSON in bytes, at most the "
            f"body's {len(body)}, or 0 for a raw body"
        )
    end = int(header_length)
    return Envelope(body[:end] if end else None, memoryview(body)[end:])
