"""Log formats: lines of text, or JSON objects with the request id and the name of the key.

Neither format contains keys, queries or bodies; only the path and id of a request.
"""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime

from starlette.types import ASGIApp, Receive, Scope, Send

from service.problems.errors import AccessSettingError
from service.telemetry.record import RequestRecord, record_in
from service.transport.log_writer import LogWriter

FORMATS = ("text", "json")

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
ACCESS_LOGGER = "service.access"
"""Logger of request lines."""
_ACCESS_FIELDS = ("method", "path", "status", "ms", "request_id")
"""Names of the arguments of a request line, in order."""

_PROCESS_LOGGER = "service"
"""Logger of the process and of signal handlers, which may interrupt any request."""

_state: ContextVar[dict[str, object] | None] = ContextVar("state", default=None)
"""ASGI `state` of the current request."""


class LogContext:
    """Middleware that sets the request of log lines.

    Args:
        app: the next ASGI app.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        token = _state.set(scope.setdefault("state", {}))
        try:
            await self.app(scope, receive, send)
        finally:
            _state.reset(token)


class TextFormatter(logging.Formatter):
    """Formatter of text lines, with the name of the key at the end, if any."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- the standard library's name
        """Return the line without a traceback."""
        line, request = super().formatMessage(record), _request_of(record)
        return line if request is None or request.api_key is None else f"{line} key={request.api_key}"


class JsonFormatter(logging.Formatter):
    """Formatter of JSON objects: time, level, logger, message, and optionally request_id, key, exception.

    A request line also has method, path, status and ms.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object in one line."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        request = _request_of(record)
        if request is not None:
            entry["request_id"] = request.request_id
        arguments = record.args
        is_access = record.name == ACCESS_LOGGER and record.levelno == logging.INFO
        if is_access and isinstance(arguments, tuple) and len(arguments) == len(_ACCESS_FIELDS):
            entry.update(zip(_ACCESS_FIELDS, arguments, strict=True))
        if request is not None and request.api_key is not None:
            entry["key"] = request.api_key
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def configure_logging(log_format: str) -> None:
    """Configure logging to stderr, from level INFO, on a separate thread.

    Raises:
        AccessSettingError: the format is unknown.
    """
    if log_format not in FORMATS:
        raise AccessSettingError(f"log format {log_format!r} is unknown; expected {' or '.join(FORMATS)}: --log-format")
    # Not in either format, and costly for every record (logging's documentation, "Optimization").
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    logging._srcfile = None
    handler = LogWriter()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _request_of(record: logging.LogRecord) -> RequestRecord | None:
    """Return the record of a log line's request; None if there is none."""
    state = None if record.name == _PROCESS_LOGGER else _state.get()
    return None if state is None else record_in(state)
