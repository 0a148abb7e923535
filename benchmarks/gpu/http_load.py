"""HTTP load from threads, each with one connection and one request at a time."""

import http.client
import json
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

TIMEOUT = 30
GENERATORS = min(4, os.cpu_count() or 1)
"""Number of processes that send requests."""


@dataclass
class Load:
    """Responses to all clients so far.

    Attributes:
        statuses: number of responses by status.
        broken: connections that ended during a response.
        milliseconds: times of the responses with status 200.
        answers: bodies of the last thousand of these.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    milliseconds: list[float] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def median(self) -> float:
        """Median time of a successful response, in ms."""
        return statistics.median(self.milliseconds) if self.milliseconds else float("nan")

    @property
    def p99(self) -> float:
        """99th percentile of the successful responses' times, in ms."""
        ranked = sorted(self.milliseconds)
        return ranked[int(0.99 * (len(ranked) - 1))] if ranked else float("nan")

    @property
    def failed(self) -> int:
        """Requests without a successful response."""
        return self.broken + sum(count for status, count in self.statuses.items() if status != 200)


@contextmanager
def loaded(port: int, path: str, bodies: Sequence[bytes], clients: int) -> Iterator[Load]:
    """Send images to `path` from each client until the block ends or the server refuses connections."""
    load = Load()
    threads = [
        threading.Thread(target=_client, args=(load, port, path, bodies, number), daemon=True)
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join(TIMEOUT)


def send_all(generators: Executor, port: int, path: str, bodies: Sequence[bytes], clients: int, seconds: float) -> Load:
    """Return the responses to clients that are divided among processes, so that these are not the limit."""
    processes = min(clients, GENERATORS)
    shares = [len(range(first, clients, processes)) for first in range(processes)]
    whole = Load()
    for part in [generators.submit(_send, port, path, bodies, share, seconds) for share in shares]:
        statuses, broken, milliseconds, answers = part.result()
        whole.statuses.update(statuses)
        whole.broken += broken
        whole.milliseconds += milliseconds
        whole.answers += answers
    return whole


def _send(
    port: int, path: str, bodies: Sequence[bytes], clients: int, seconds: float
) -> tuple[Counter[int], int, list[float], list[dict[str, Any]]]:
    with loaded(port, path, bodies, clients) as load:
        time.sleep(seconds)
        sent = load.statuses.copy()
    return sent, load.broken, load.milliseconds, load.answers


def post(connection: http.client.HTTPConnection, path: str, body: bytes, kind: str) -> tuple[int, Any]:
    """Return status and JSON body of the response."""
    connection.request("POST", path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def _client(load: Load, port: int, path: str, bodies: Sequence[bytes], number: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    while not load.stop.is_set():
        try:
            connection.connect()
        except OSError:
            return  # the server has ended
        while not load.stop.is_set():
            start = time.perf_counter()
            try:
                status, answer = post(connection, path, bodies[number % len(bodies)], "image/png")
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                break  # the server may close an idle connection
            except (OSError, http.client.HTTPException):
                load.broken += 1
                break
            load.statuses[status] += 1
            if status == 200:
                load.milliseconds.append(1000 * (time.perf_counter() - start))
                load.answers.append(answer)
                del load.answers[:-1000]
            else:
                time.sleep(0.01)
            number += 1
        connection.close()
