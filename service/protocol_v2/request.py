"""Inference request: the JSON, its parameters, and the bytes after it."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.inputs.json_text import LARGE
from service.problems.client_errors import ProtocolError
from service.protocol_v2.documents import InferRequest, read_document
from service.protocol_v2.envelope import HEADER_LENGTH, open_envelope
from service.protocol_v2.messages import shown
from service.protocol_v2.numbers import without_numbers

LONGEST_MS = 86_400_000


@dataclass(frozen=True)
class ParsedRequest:
    """Inference request after parsing."""

    request: InferRequest
    """The request; without inputs if the body is raw."""
    numbers: list[bytes]
    """Lists of numbers under `data`, as JSON; the document has empty lists there instead."""
    tensors: memoryview
    """Bytes after the JSON; all of a raw body."""
    raw: bool
    media_type: str


def is_heavy(body: bytes, headers: Mapping[str, str]) -> bool:
    """Return whether `parse` is too slow for the event loop: large JSON, compressed bodies."""
    length = headers.get(HEADER_LENGTH, "")
    json_bytes = int(length) if length.isdecimal() and len(length) < 19 else len(body)
    return "Content-Encoding" in headers or json_bytes > LARGE


def parse(body: bytes, headers: Mapping[str, str]) -> ParsedRequest:
    """Return the inference request of a body.

    Args:
        body: decompressed.
        headers: headers of the request; names in any case.

    Raises:
        ProtocolError: the body does not match the headers, or its JSON is not an inference request.
    """
    envelope = open_envelope(body, headers.get(HEADER_LENGTH))
    media_type = headers.get("Content-Type", "")
    if envelope.document is None:
        # Same as Triton for a raw body, which has no JSON to request another form.
        request = InferRequest(inputs=[], parameters={"binary_data_output": True})
        return ParsedRequest(request, [], envelope.tensors, True, media_type)
    document, numbers = without_numbers(envelope.document)
    request = read_document(InferRequest, document, "the protocol's inference request")
    return ParsedRequest(request, numbers, envelope.tensors, False, media_type)


def variant_of(request: InferRequest) -> str | None:
    """Return the parameter `variant`, None if it is absent.

    Raises:
        ProtocolError: the value is not a string.
    """
    variant = request.parameters.get("variant")
    if variant is not None and not isinstance(variant, str):
        raise ProtocolError(f"variant is {shown(variant)}, expected a name")
    return variant


def timeout_ms(request: InferRequest) -> int | None:
    """Return the parameter `timeout` (µs) in ms; None if it is 0 or absent.

    Raises:
        ProtocolError: the value is not a number of µs, or more than a day.
    """
    timeout = request.parameters.get("timeout", 0)
    if type(timeout) is not int or not 0 <= timeout <= 1000 * LONGEST_MS:
        raise ProtocolError(f"timeout is {shown(timeout)}, expected µs from 1 to {1000 * LONGEST_MS}, or 0")
    return -(-timeout // 1000) or None
