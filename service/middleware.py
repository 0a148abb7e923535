"""What happens around every request: its id, its line in the log, its count, and an answer whatever goes wrong."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import unexpected_problem
from service.telemetry.latency import Key
from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

CLASSIFY_PATH = "/v1/classify"
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestMiddleware:
    """Gives a request its id, logs and counts it, and turns an unexpected exception into a 500 problem.

    A route may put the `Key` of what it serves into `request.state.key`; the count is then under that name.

    Args:
        app: what answers.
        metrics: counts requests to CLASSIFY_PATH.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = request_id_of(Headers(scope=scope))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            logger.exception("request %s failed unexpectedly", request_id)
            if status:
                raise  # half an answer is out: the server can only close the connection
            await unexpected_problem(request_id)(scope, receive, send_with_id)
        finally:
            if scope["path"] == CLASSIFY_PATH:
                key: Key | None = state.get("key")
                self.metrics.count_request(key, status)
            # The raw path is percent-encoded: a line break in it cannot forge a line of the log.
            path = scope.get("raw_path", b"").decode("ascii", "replace")
            elapsed = 1000 * (time.perf_counter() - start)
            logger.info("%s %s %d %.1f ms %s", scope["method"], path, status, elapsed, request_id)


def request_id_of(headers: Headers) -> str:
    """Return the X-Request-Id the client gave, if it is 1 to 128 of A-Z a-z 0-9 . _ -, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex
