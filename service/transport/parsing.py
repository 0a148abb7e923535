"""Parser of requests: heads are bounded, and requests to upgrade the connection are ignored.

A request to upgrade the connection is not granted. uvicorn does not either, but the parser drops the body of such a
request: Java's own client sends one with every first request, in case the server speaks HTTP/2. So the parser gets the
head again, without that header.

Pipelined requests are parsed a few at a time: a segment may hold thousands, and uvicorn would make an object of each
before it does anything else.
"""

import asyncio
from typing import Literal

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.problems.client_errors import HeadTooLargeError, MalformedRequestError
from service.problems.errors import ProblemError

_PIECE = 4096
"""Bytes of a body of unknown length that are parsed at a time."""
_HEAD_PIECE = 128
"""Bytes that are parsed at a time where a head is, or may begin: a few of the shortest requests."""


class CountedRequests(HttpToolsProtocol):
    """Protocol that starts requests as their heads come, and counts the bytes of heads."""

    max_header_bytes: int
    """Bytes of a request line and its headers, and of trailers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """Await a first request."""
        super().connection_made(transport)
        self.url = b""
        self.awaited: Literal["head", "body"] | None = None
        """Incomplete part of a request that has begun."""
        self.stage = 0
        """Grows whenever what is awaited changes."""
        self._named = 0  # bytes of this request's line, headers and trailers that the parser has handed over
        self._unparsed = 0  # bytes since the parser last handed over anything
        self._body_came = False
        self._too_large: ProblemError | None = None
        self._body_left = 0  # bytes of a body of known length that have not come
        self.left = memoryview(b"")
        """Bytes that wait until the requests before them are answered."""

    def parse(self, data: bytes) -> ProblemError | None:
        """Start the requests whose heads are complete, until one waits for another; `left` is parsed by the next call.

        Return what is wrong with `data`, None if nothing is.
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
            if self.awaited is not None and self.stage - stage <= 1:  # else it also ended what was before
                self._unparsed = 0 if self._body_came else self._unparsed + size
                if self._unparsed > self.max_header_bytes:
                    self.left = memoryview(b"")
                    return self._head_too_large()
        return None

    def on_message_begin(self) -> None:
        """Await a head."""
        self._named = self._body_left = 0
        self._await("head")
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count it."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count it. A trailer is dropped: after the body it must not pass for a header."""
        self._count(len(name) + len(value) + 4)  # ": " and the line break
        if self.awaited == "head":
            super().on_header(name, value)
            if self.headers[-1][0] == b"content-length":
                self._body_left = int(value)

    def on_headers_complete(self) -> None:
        """Start the request and await its body, an empty one too; but start none after the last of a connection."""
        if not self._will_be_parsed_again() and not self.transport.is_closing():
            super().on_headers_complete()
            self._await("body")

    def on_body(self, body: bytes) -> None:
        """Note that what comes is a body."""
        self._body_came = True
        self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Await nothing."""
        if not self._will_be_parsed_again():
            self._await(None)
            super().on_message_complete()

    def _parse(self, data: memoryview) -> int:
        """Parse up to the end of a head that asks to upgrade, else all; return the number of bytes."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._will_be_parsed_again():
                return len(data)
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)  # the one before may take what follows for a tunnel
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
