"""Health responses of a server that is still loading: alive, not ready.

Loading may take minutes. If the port were closed, liveness probes would fail, and the server would be restarted before
it is ready. One thread suffices: one connection at a time, one request for each, within a second.
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
"""Maximum number of bytes read from a request."""
_SECONDS = 1.0
_LIVE = (
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n"
    b'{"status":"live"}'
)
_NOT_READY = NotReadyError("the server is loading, and may be building engines, see its log; poll /health/ready", 5)


@contextmanager
def answering(listener: socket.socket) -> Iterator[None]:
    """Listen and answer on a thread inside the context: 200 for GET and HEAD of /health/live, 503 for all else.

    The socket continues to listen afterwards, so connections wait for the server.

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
        with suppress(OSError):  # the client disconnected
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
    while _read(connection, until):  # unread bytes at close would reset the connection and discard the response
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
