"""One field of a multipart/form-data body (RFC 7578) that is in memory already."""

from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from service.errors import InvalidBodyError

MOST_PARTS = 1000
"""16 MiB of empty parts would be five seconds of work."""

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


def field_content(body: bytes, content_type: str, name: str) -> bytes:
    """Return the content of the field `name`.

    Raises:
        InvalidBodyError: the body is not whole multipart, does not have exactly one such field, or has more than
            MOST_PARTS.
    """
    expected = f'expected multipart/form-data with one field "{name}" that holds the file'
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise InvalidBodyError(f"Content-Type names no boundary; {expected}")
    reader = _Reader(name.encode())
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InvalidBodyError(f"the body is not multipart ({error}); {expected}") from error
    if not reader.ended:
        raise InvalidBodyError(f"the body ends before its closing boundary; {expected}")
    if len(reader.contents) != 1:
        raise InvalidBodyError(f'found {len(reader.contents)} fields "{name}"; {expected}')
    return bytes(reader.contents[0])


class _Reader:
    """Collects the contents of the fields of one name."""

    def __init__(self, name: bytes) -> None:
        self.contents: list[bytearray] = []
        self.parts = 0
        self.ended = False
        self._name = name
        self._wanted = False
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""

    def callbacks(self) -> "MultipartCallbacks":
        """Return what the parser calls."""
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self.parts += 1
        if self.parts > MOST_PARTS:
            raise InvalidBodyError(f"the body has more than {MOST_PARTS} fields; send the image alone")
        self._wanted = False
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        self._wanted = parse_options_header(self._disposition)[1].get(b"name") == self._name
        if self._wanted:
            self.contents.append(bytearray())

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self.contents[-1] += data[start:end]

    def _on_end(self) -> None:
        self.ended = True
