"""Parser for the fields of a multipart/form-data body (RFC 7578) in memory.

Text before the first boundary, folded headers (RFC 2046), and line feeds without carriage returns are accepted too.
"""

import binascii
import re
from dataclasses import dataclass

from service.inputs.base64_text import decode_base64
from service.problems.client_errors import InvalidBodyError

MOST_FIELDS = 100
MAX_HEADERS = 8192
"""Maximum size of the headers of a field in bytes."""

_PARAMETER = re.compile(r';\s*([^\s=;]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))')
_PADDING = re.compile(rb"[ \t]*")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_AS_IT_IS = {"", "7bit", "8bit", "binary"}


@dataclass(frozen=True)
class Field:
    """One field of a form."""

    name: str
    content: bytes
    """Content as sent."""
    encoding: str
    """Content-Transfer-Encoding in lower case; empty if absent."""


def read_fields(body: bytes, content_type: str) -> list[Field]:
    """Return the fields of a form, in their order.

    Raises:
        InvalidBodyError: the body is not complete multipart data, or has more than MOST_FIELDS fields.
    """
    boundary = _parameters(content_type).get("boundary", "")
    if not boundary:
        raise InvalidBodyError("Content-Type has no boundary; let the client's library write this header")
    mark = b"--" + boundary.encode("latin-1", "replace")
    at = 0 if body.startswith(mark) else body.find(b"\n" + mark) + 1
    if not body.startswith(mark, at):
        raise InvalidBodyError(f"the body has no line --{boundary[:80]}, the boundary in Content-Type")
    fields: list[Field] = []
    at, newline = _after_mark(body, at + len(mark), b"")
    while newline:
        if len(fields) == MOST_FIELDS:
            raise InvalidBodyError(f"the body has more than {MOST_FIELDS} fields")
        headers, start = _headers(body, at, newline, len(fields))
        end = body.find(newline + mark, start)
        if end < 0:
            raise InvalidBodyError("the body ends before its closing boundary")
        fields.append(_field(headers, body[start:end], len(fields)))
        at, newline = _after_mark(body, end + len(newline + mark), newline)
    return fields


def decoded(field: Field) -> bytes:
    """Decode a field's content according to its Content-Transfer-Encoding.

    Raises:
        InvalidBodyError: the encoding is not supported, or the content does not match it.
    """
    if field.encoding in _AS_IT_IS:
        return field.content
    if field.encoding == "quoted-printable":
        return binascii.a2b_qp(field.content)
    if field.encoding != "base64":
        raise InvalidBodyError(
            f'field "{field.name}": Content-Transfer-Encoding {field.encoding[:80]!r} is not supported; '
            "expected binary, base64 or quoted-printable"
        )
    try:
        return decode_base64(field.content)
    except ValueError as error:
        raise InvalidBodyError(
            f'field "{field.name}": not base64, contrary to its Content-Transfer-Encoding: {error}'
        ) from error


def _after_mark(body: bytes, at: int, newline: bytes) -> tuple[int, bytes]:
    """Return the position after a boundary's line, and the line ending; b"" after the closing boundary.

    Args:
        body: the whole body.
        at: end of the boundary.
        newline: line ending; b"" if still unknown.
    """
    if body.startswith(b"--", at):
        return at, b""
    at = _skipped(body, at)
    for ending in (newline,) if newline else (b"\r\n", b"\n"):
        if body.startswith(ending, at):
            return at + len(ending), ending
    if at == len(body):
        raise InvalidBodyError("the body ends before its closing boundary")
    raise InvalidBodyError(
        "a line begins with the boundary and continues; choose a boundary that is not in the content"
    )


def _skipped(body: bytes, at: int) -> int:
    """Return the position after optional spaces behind a boundary (RFC 2046, section 5.1.1)."""
    found = _PADDING.match(body, at)
    assert found is not None
    return found.end()


def _headers(body: bytes, at: int, newline: bytes, index: int) -> tuple[dict[str, str], int]:
    """Return the headers of a field, by lower-case name, and the start of its content."""
    if body.startswith(newline, at):
        return {}, at + len(newline)
    end = body.find(newline + newline, at, at + MAX_HEADERS)
    if end < 0:
        raise InvalidBodyError(f"field {index}: no empty line ends its headers within {MAX_HEADERS} bytes")
    lines = _FOLD.sub(b" ", body[at:end]).decode("utf-8", "replace").splitlines()
    pairs = [line.partition(":") for line in lines]
    return {name.strip().lower(): value.strip() for name, _, value in pairs}, end + 2 * len(newline)


def _field(headers: dict[str, str], content: bytes, index: int) -> Field:
    name = _parameters(headers.get("content-disposition", "")).get("name")
    if name is None:
        raise InvalidBodyError(f'field {index}: no header Content-Disposition: form-data; name="…"')
    return Field(name, content, headers.get("content-transfer-encoding", "").lower())


def _parameters(header: str) -> dict[str, str]:
    """Return the parameters of a header's value, by lower-case name."""
    return {
        found[1].lower(): re.sub(r"\\(.)", r"\1", found[2]) if found[2] is not None else found[3].strip()
        for found in _PARAMETER.finditer(header)
    }
