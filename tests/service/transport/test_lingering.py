"""Writes of a response: head and body in one segment, and no write delayed beyond one pass of the event loop."""

import asyncio
from collections.abc import Callable

import pytest

from service.transport.lingering import LingeringTransport

HEAD, BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n", b"body"


class Recorded(asyncio.Transport):
    """Transport that records the bytes of each write."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def writelines(self, list_of_data: object) -> None:
        assert isinstance(list_of_data, list)
        self.sent.append(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.sent.append(b"<half-close>")

    def close(self) -> None:
        self.sent.append(b"<close>")

    def abort(self) -> None:
        self.sent.append(b"<abort>")

    def is_closing(self) -> bool:
        return False

    def resume_reading(self) -> None:
        """Do nothing: these tests do not read."""

    def get_write_buffer_size(self) -> int:
        return 0


def sent(use: Callable[[LingeringTransport], None], *, passes: int = 0, sending: bool = False) -> list[bytes]:
    """Return the bytes sent by `use` and in the passes of the event loop after it."""

    async def run() -> list[bytes]:
        recorded = Recorded()
        transport = LingeringTransport(recorded, asyncio.get_running_loop(), 1.0, lambda: sending)
        use(transport)
        for _ in range(passes):
            await asyncio.sleep(0)
        found = list(recorded.sent)
        transport.expect_nothing()
        return found

    return asyncio.run(run())


def test_a_head_is_sent_with_its_body() -> None:
    def answer(transport: LingeringTransport) -> None:
        transport.write(HEAD)
        transport.write(BODY)

    assert sent(answer) == [HEAD + BODY]
    assert sent(answer, passes=2) == [HEAD + BODY]


def test_a_head_without_a_body_is_sent_at_the_end_of_the_pass() -> None:
    assert sent(lambda transport: transport.write(HEAD)) == []
    assert sent(lambda transport: transport.write(HEAD), passes=2) == [HEAD]


def test_a_long_write_is_sent_immediately() -> None:
    assert sent(lambda transport: transport.write(b"x" * 5000)) == [b"x" * 5000]


@pytest.mark.parametrize(
    ("end", "sending", "after"),
    [
        (LingeringTransport.close, False, b"<close>"),
        (LingeringTransport.close, True, b"<half-close>"),
        (LingeringTransport.finish, True, b"<close>"),
        (lambda transport: transport.linger(10), False, b"<half-close>"),
    ],
)
def test_closing_first_sends_a_delayed_write(
    end: Callable[[LingeringTransport], None], sending: bool, after: bytes
) -> None:
    def answer(transport: LingeringTransport) -> None:
        transport.write(HEAD)
        end(transport)
        transport.write(b"after the last response")

    assert sent(answer, passes=2, sending=sending) == [HEAD, after]


def test_a_delayed_write_counts_as_unsent() -> None:
    sizes = []

    def answer(transport: LingeringTransport) -> None:
        transport.write(HEAD)
        sizes.append(transport.get_write_buffer_size())

    sent(answer)
    assert sizes == [len(HEAD)]
