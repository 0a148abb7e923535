"""Answers of a server that is still loading, where that takes minutes: alive, not ready.

A server whose port is closed is taken for dead by probes of liveness, and restarted before it is done. What is asked
here needs no more than a thread: a connection at a time, one request of each, a second for each.
"""

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from service.problems.server_errors import NotReadyError
from service.transport.refusals import raw_answer

_HEAD = 16_384
"""Bytes of a request that are read."""
_SECONDS = 1.0
_LIVE = (
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n"
    b'{"status":"live"}'
)
_NOT_READY = NotReadyError("the server is loading, and may be building engines: see its log; ask /health/ready", 5)


@contextmanager
def answering(listener: socket.socket) -> Iterator[None]:
    """Listen and answer on a thread until the block ends: 200 to GET and HEAD of /health/live, 503 to all else.

    The socket goes on listening afterwards, so that connections wait for the server.

    Raises:
        OSError: the socket cannot listen.
    """
    listener.listen()
    ending = threading.Event()
    thread = threading.Thread(target=_answer_all, args=(listener, ending), name="starting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _answer_all(listener: socket.socket, ending: threading.Event) -> None:
    while not ending.is_set():
        if not select.select([listener], [], [], 0.1)[0]:
            continue
        with suppress(OSError):  # the client left
            connection, _ = listener.accept()
            with connection:
                _answer(connection)


def _answer(connection: socket.socket) -> None:
    until = time.monotonic() + _SECONDS
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _HEAD:
        if not (more := _read(connection, until)):
            return
        head += more
    method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    live = method in {"GET", "HEAD"} and path.endswith("/health/live")
    answer = _LIVE if live else raw_answer(_NOT_READY, path, (), None)
    connection.sendall(answer if method != "HEAD" else answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    connection.shutdown(socket.SHUT_WR)
    while _read(connection, until):  # what is unread when the socket closes would take the answer back
        pass


def _read(connection: socket.socket, until: float) -> bytes:
    left = until - time.monotonic()
    if left <= 0:
        return b""
    connection.settimeout(left)
    try:
        return connection.recv(65_536)
    except TimeoutError:
        return b""
