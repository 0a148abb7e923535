"""What happens around every request: its id, its line in the log, its count, and an answer whatever goes wrong."""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from artifact import VersionKey
from service.problems.rendering import error_answer, path_of
from service.problems.server_errors import DeadlineError, NotReadyError, UnexpectedError
from service.resources.exit import Lifecycle
from service.resources.memory import MemoryBudget, RequestMemory
from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

CLASSIFY_PATH = "/v1/classify"
COMPARE_PATH = "/v1/compare"
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PROCESS, _numbers = secrets.token_hex(8), itertools.count()
"""What new ids begin with, and end with: asking the system for random bytes each time took 4 % of the event loop."""


class RequestMiddleware:
    """Gives a request its id, logs and counts it, and turns an unexpected exception into a 500 problem.

    A route puts the `VersionKey` of what it serves into `request.state.key`; the count is then under that name.
    Requests to classify count also without one, unless the route put False into `request.state.counts`. An error's
    name is expected in `request.state.problem`, and in `request.state.watches` pairs of a VersionKey and a Stopwatch.

    Args:
        app: what answers.
        metrics: counts requests.
        lifecycle: counts the requests that are accepted and not answered.
        held: what all requests may hold in memory; what one holds is in its `request.state.holding`.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, lifecycle: Lifecycle, held: MemoryBudget) -> None:
        self.app = app
        self.metrics = metrics
        self.lifecycle = lifecycle
        self.held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        accepted = self.lifecycle.enter()
        request_id = request_id_of(Headers(scope=scope))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["holding"] = holding = RequestMemory(self.held)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            if status:
                raise
            # DRAIN_SECONDS are over. Whoever is cancelled without an answer would get a bare 500 from the server.
            error = NotReadyError("the server stopped before this was answered; send it again, to another server")
            await error_answer(error, path_of(scope), request_id)(scope, receive, send_with_id)
        except Exception:
            logger.exception("request %s failed unexpectedly", request_id)
            if status:
                raise  # half an answer is out: the server can only close the connection
            await error_answer(UnexpectedError(request_id), path_of(scope), request_id)(scope, receive, send_with_id)
        finally:
            holding.release()
            if accepted:
                self.lifecycle.leave()
            self._count(scope["path"], state, status, time.perf_counter() - start)
            # The raw path is percent-encoded: a line break in it cannot forge a line of the log.
            path = scope.get("raw_path", b"").decode("ascii", "replace")
            elapsed = 1000 * (time.perf_counter() - start)
            logger.info("%s %s %d %.1f ms %s", scope["method"], path, status, elapsed, request_id)

    def _count(self, path: str, state: Mapping[str, Any], status: int, seconds: float) -> None:
        key: VersionKey | None = state.get("key")
        if (key is not None or _classifies(path)) and state.get("counts", True):
            reason = _reason(state, status) if status >= 400 else None
            self.metrics.count_request(key, status, reason)
            if reason == DeadlineError.name:
                for served, watch in state.get("watches", ()):
                    self.metrics.latency.record_overdue(served, watch.elapsed())
            if key is not None and status >= 400:
                self.metrics.statistics.failed(key, round(1e6 * seconds))


def _classifies(path: str) -> bool:
    return path in (CLASSIFY_PATH, COMPARE_PATH) or (path.startswith("/v2/models/") and path.endswith("/infer"))


def _reason(state: Mapping[str, Any], status: int) -> str:
    """Return the name of the problem; of one that was found before the routes, its status' own."""
    return state.get("problem") or HTTPStatus(status).phrase.lower().replace(" ", "-")


def request_id_of(headers: Headers) -> str:
    """Return the X-Request-Id the client gave, if it is 1 to 128 of A-Z a-z 0-9 . _ -, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else f"{_PROCESS}{next(_numbers):016x}"
