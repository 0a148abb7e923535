"""Request parser with a limit for heads; requests to upgrade the connection are treated as ordinary ones.

Upgrades are not supported, as in uvicorn, but the parser drops the body of such a request: Java's HTTP client sends one
with every first request, in case the server supports HTTP/2. Therefore the head is parsed again without that header.

Pipelined requests are parsed a few at a time: a segment may contain thousands, and uvicorn would create an object for
each first.
"""

import asyncio
from typing import Literal

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.problems.client_errors import HeadTooLargeError, MalformedRequestError
from service.problems.errors import ProblemError

_PIECE = 4096
"""Number of bytes of a body of unknown length parsed at a time."""
_HEAD_PIECE = 128
"""Number of bytes parsed at a time in heads, and where a head may begin: a few of the shortest requests."""


class CountedRequests(HttpToolsProtocol):
    """Protocol that starts requests when their heads are complete, and counts the bytes of heads."""

    max_header_bytes: int
    """Maximum size of a request line with headers, and of trailers, in bytes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """Wait for the first request."""
        super().connection_made(transport)
        self.url = b""
        self.awaited: Literal["head", "body"] | None = None
        """Incomplete part of the current request."""
        self.stage = 0
        """Counter of changes of the awaited part."""
        self._named = 0  # bytes of this request's line, headers and trailers reported by the parser
        self._unparsed = 0  # bytes since the parser's last report
        self._body_came = False
        self._too_large: ProblemError | None = None
        self._body_left = 0  # missing bytes of a body of known length
        self.left = memoryview(b"")
        """Bytes that wait until earlier requests are answered."""

    def parse(self, data: bytes) -> ProblemError | None:
        """Start the requests whose heads are complete, until one waits for another; `left` is parsed by the next call.

        Return the error in `data`, None if there is none.
        """
        self.left = memoryview(bytes(self.left) + data if self.left else data)
        while self.left and not self.pipeline:
            piece = self.left[: max(_PIECE if self.awaited == "body" else _HEAD_PIECE, self._body_left)]
            stage, self._body_came = self.stage, False
            try:
                size = self._parse(piece)
            except httptools.HttpParserError:
                self.left = memoryview(b"")
                return self._too_large or MalformedRequestError(
                    "Invalid HTTP request received. Expected HTTP/1.1, without TLS"
                )
            self.left = self.left[size:]
            if self.awaited is not None and self.stage - stage <= 1:  # otherwise it also ended an earlier part
                self._unparsed = 0 if self._body_came else self._unparsed + size
                if self._unparsed > self.max_header_bytes:
                    self.left = memoryview(b"")
                    return self._head_too_large()
        return None

    def on_message_begin(self) -> None:
        """Start to wait for a head."""
        self._named = self._body_left = 0
        self._await("head")
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the URL."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header. A trailer is dropped, because it must not be treated as a header."""
        self._count(len(name) + len(value) + 4)  # ": " and the line break
        if self.awaited == "head":
            super().on_header(name, value)
            if self.headers[-1][0] == b"content-length":
                self._body_left = int(value)

    def on_headers_complete(self) -> None:
        """Start the request and wait for its body; requests after the last one of a connection are not started."""
        if not self._will_be_parsed_again() and not self.transport.is_closing():
            super().on_headers_complete()
            self._await("body")

    def on_body(self, body: bytes) -> None:
        """Count bytes of a body."""
        self._body_came = True
        self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting."""
        if not self._will_be_parsed_again():
            self._await(None)
            super().on_message_complete()

    def _parse(self, data: memoryview) -> int:
        """Parse data, up to the end of a head with an upgrade; return the number of parsed bytes."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._will_be_parsed_again():
                return len(data)
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)  # the previous parser may treat following bytes as a tunnel
            self.parser.feed_data(head)
            return int(upgrade.args[0])
        return len(data)

    def _will_be_parsed_again(self) -> bool:
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _await(self, what: Literal["head", "body"] | None) -> None:
        self.awaited = what
        self.stage += 1
        self._unparsed = 0

    def _count(self, size: int) -> None:
        self._named += size
        if self._named > self.max_header_bytes:
            self._too_large = self._head_too_large()
            raise self._too_large  # the parser stops

    def _head_too_large(self) -> HeadTooLargeError:
        return HeadTooLargeError(
            f"the request line and headers have more than the {self.max_header_bytes} bytes allowed; send fewer"
        )
