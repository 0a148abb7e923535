"""Request middleware: id, record and log line of every request, and a response to unexpected exceptions."""

import asyncio
import itertools
import logging
import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.inputs.headers import header
from service.problems.rendering import error_answer, path_of
from service.problems.server_errors import NotReadyError, UnexpectedError
from service.resources.memory import MemoryBudget, RequestMemory
from service.telemetry.record import RequestRecord, attach
from service.telemetry.recorder import Recorder
from service.transport.draining import Lifecycle
from service.transport.logs import ACCESS_LOGGER

logger = logging.getLogger(__name__)
_access_logger = logging.getLogger(ACCESS_LOGGER)

CLASSIFY_PATH = "/v1/classify"
COMPARE_PATH = "/v1/compare"
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PROCESS, _numbers = secrets.token_hex(8), itertools.count()
"""First and second half of new ids; random bytes from the system for each id took 4 % of the event loop's time."""


class RequestMiddleware:
    """Middleware that creates the id and record of each request, and records and logs the request when finished.

    Args:
        app: the next ASGI app.
        recorder: receives the record of every finished request.
        lifecycle: counter of accepted requests.
        memory: budget of all requests.
    """

    def __init__(self, app: ASGIApp, recorder: Recorder, lifecycle: Lifecycle, memory: MemoryBudget) -> None:
        self.app = app
        self.recorder = recorder
        self.lifecycle = lifecycle
        self.memory = memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        accepted = self.lifecycle.enter()
        request_id = request_id_of(scope)
        encoded_id = request_id.encode()
        record = RequestRecord(request_id, is_inference(scope["path"]), RequestMemory(self.memory))
        attach(scope, record)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", encoded_id)]}
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            if record.status:
                raise
            # DRAIN_SECONDS have passed. Without this response the server would send a bare 500.
            error = NotReadyError("the server stopped before the request was answered; try again, with another server")
            await error_answer(error, path_of(scope), request_id)(scope, receive, send_with_id)
        except Exception:
            logger.exception("request %s failed unexpectedly", request_id)
            if record.status:
                raise  # part of the response was sent: the server can only close the connection
            await error_answer(UnexpectedError(request_id), path_of(scope), request_id)(scope, receive, send_with_id)
        finally:
            record.memory.release()
            if accepted:
                self.lifecycle.leave()
            self.recorder.finish(record, scope)
            # The raw path is percent-encoded, so a line break in it cannot forge a log line.
            path = scope.get("raw_path", b"").decode("ascii", "replace")
            elapsed = record.microseconds() / 1000
            if _access_logger.isEnabledFor(logging.INFO):
                _access_logger.handle(_AccessRecord(scope["method"], path, record.status, elapsed, request_id))


class _AccessRecord(logging.LogRecord):
    """Log record of a request line, without the source location, which takes half of the time."""

    def __init__(self, *arguments: object) -> None:
        self.__dict__.update(_ACCESS_ATTRIBUTES)
        self.args = arguments
        self.created = time.time()
        self.msecs = self.created % 1 * 1000


_ACCESS_ATTRIBUTES = vars(logging.LogRecord(ACCESS_LOGGER, logging.INFO, __file__, 0, "%s %s %d %.1f ms %s", (), None))


def is_inference(path: str) -> bool:
    """Return whether a path (without root path) runs images."""
    return path in (CLASSIFY_PATH, COMPARE_PATH) or (path.startswith("/v2/models/") and path.endswith("/infer"))


def request_id_of(scope: Scope) -> str:
    """Return the client's X-Request-Id, if it is 1 to 128 of A-Z a-z 0-9 . _ -, otherwise a new one."""
    given = header(scope, b"x-request-id")
    return given if given is not None and _ID.fullmatch(given) else f"{_PROCESS}{next(_numbers):016x}"
