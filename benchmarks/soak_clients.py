"""Clients that compare each response with the expected one."""

import base64
import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.soak_repository import MODEL, Contents, Expected

TOLERANCE = 1e-4
"""Tolerance of a probability; rounding differs by about 1e-6 between batch sizes."""

GIVE_UP = 3
"""Consecutive requests without a response after which a client stops."""


class Clients:
    """Threads with one keep-alive connection each, which post images to all variants in turn and check the responses.

    Args:
        port: port of the service.
        expected: expected responses.
        count: number of threads.

    Attributes:
        good: number of correct responses.
        refused: number of responses 404 (removed version), 429 and 503.
        lost: requests without a response, after a retry on a new connection.
        wrong: descriptions of the incorrect responses.
    """

    def __init__(self, port: int, expected: Expected, count: int) -> None:
        self.good = self.refused = self.lost = 0
        self.wrong: list[str] = []
        self._port = port
        self._expected = expected
        self._count = count
        self._variants = sorted(expected.probabilities)
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._seconds: list[float] = []

    def run(self, requests: int) -> None:
        """Send `requests` requests and wait for the responses."""
        last = next(self._numbers) + requests + 1
        self._join(self._start(last))

    @contextmanager
    def running(self, seconds: float = 0.0) -> Iterator[None]:
        """Send requests; run the block after `seconds`, and stop at its end."""
        self._stop.clear()
        threads = self._start(None)
        time.sleep(seconds)
        try:
            yield
        finally:
            self._stop.set()
            self._join(threads)

    def percentiles(self) -> str:
        """Return p50, p99 and maximum in ms as table cells."""
        ordered = sorted(self._seconds)
        found = (ordered[min(len(ordered) - 1, int(part * len(ordered)))] for part in (0.5, 0.99, 1.0))
        return " | ".join(f"{1000 * value:.0f}" for value in found)

    def _start(self, last: int | None) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._work, args=(last,)) for _ in range(self._count)]
        for thread in threads:
            thread.start()
        return threads

    def _join(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            thread.join()

    def _work(self, last: int | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        failures = 0
        while not self._stop.is_set() and failures < GIVE_UP:
            number = next(self._numbers)
            if last is not None and number >= last:
                break
            failures = 0 if self._ask(connection, number) else failures + 1
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> bool:
        """Send one request and check the response; return whether there was one."""
        picture = number % len(self._expected.pictures)
        variant = self._variants[number // len(self._expected.pictures) % len(self._variants)]
        body, kind = self._body(number, picture)
        headers = {"Content-Type": kind, "X-Request-Id": f"soak-{number}"}
        target = f"/v1/classify?model={MODEL}&variant={variant}&top_k=1"
        began = time.monotonic()
        before = self._expected.contents_of(variant)
        for attempt in (0, 1):
            try:
                connection.request("POST", target, body, headers)
                response = connection.getresponse()
                answer = response.read()
                break
            except (OSError, http.client.HTTPException):
                connection.close()  # the server may close idle connections: retry on a new one
                if attempt:
                    with self._lock:
                        self.lost += 1
                    return False
        problem = self._problem(response.status, answer, picture, variant, before, f"soak-{number}")
        with self._lock:
            self._seconds.append(time.monotonic() - began)
            if response.status in {404, 429, 503}:
                self.refused += 1
            elif problem is not None:
                self.wrong.append(problem)
            else:
                self.good += 1
        return True

    def _body(self, number: int, picture: int) -> tuple[bytes, str]:
        data = self._expected.pictures[picture]
        match number % 3:
            case 0:
                return data, "image/png"
            case 1:
                return json.dumps({"image": base64.b64encode(data).decode()}).encode(), "application/json"
        head = b'--soak\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        return head + data + b"\r\n--soak--\r\n", "multipart/form-data; boundary=soak"

    def _problem(
        self, status: int, answer: bytes, picture: int, variant: str, before: Contents, request_id: str
    ) -> str | None:
        """Return what is wrong with a response, if anything; any content served since the request was sent is right."""
        if status != 200:
            return f"{status} for {variant}: {answer[:200]!r}"
        found = json.loads(answer)
        probabilities = self._expected.probabilities[variant][picture]
        best = found["predictions"][0]
        index, _, content = best["label"].partition(" ")
        version = found["version"]
        marks = before.get(version, set()) | self._expected.contents_of(variant)[version]
        contents = {f"v{version} c{mark}" for mark in marks}
        if found["id"] != request_id or found["variant"] != variant:
            return f"{found['id']} {found['variant']} for {request_id} {variant}"
        if content not in contents and contents:
            return f"labels {content!r} of {variant} version {version}, expected one of {sorted(contents)}"
        if int(index) != best["index"] or abs(probabilities[best["index"]] - best["probability"]) > TOLERANCE:
            return f"{best} of {variant}, expected probabilities {probabilities.round(4).tolist()}"
        if probabilities.max() - probabilities[best["index"]] > TOLERANCE:
            return f"{best} of {variant} is not the most probable class"
        return None
