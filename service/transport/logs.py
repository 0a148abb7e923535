"""How the log is written: lines of text, or a JSON object a line with the request's id and the key's name.

Neither form holds a key, a byte of an image or a query: of what a client sends, the path and the request's id.
"""

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime

from starlette.types import ASGIApp, Receive, Scope, Send

from service.auth.gate import CALLER
from service.auth.keyfile import ApiKey
from service.problems.errors import AccessSettingError
from service.transport.log_writer import LogWriter

FORMATS = ("text", "json")

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_ACCESS_LOGGER, _ACCESS_FIELDS = "service.transport.middleware", ("method", "path", "status", "ms", "request_id")
"""Who writes the line of a request, and what its arguments are called, in their order."""

_PROCESS_LOGGER = "service"
"""Who speaks for the process, even from a signal handler, which may interrupt the answering of any request."""

_state: ContextVar[Mapping[str, object] | None] = ContextVar("state", default=None)
"""The `state` of the request that is being answered."""


class LogContext:
    """Lets the log know which request a line belongs to.

    Args:
        app: whatever writes such lines.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        token = _state.set(scope.setdefault("state", {}))
        try:
            await self.app(scope, receive, send)
        finally:
            _state.reset(token)


class TextFormatter(logging.Formatter):
    """A line of text; where a key was sent, its name is at the end."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- the standard library's name
        """Return the line without a traceback."""
        line, name = super().formatMessage(record), _key_name(_state_of(record))
        return line if name is None else f"{line} key={name}"


class JsonFormatter(logging.Formatter):
    """An object a line: time, level, logger, message, and what there is of request_id, key, exception.

    The line of a request also has method, path, status and ms.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object; line breaks in it are escaped."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        state = _state_of(record)
        if "request_id" in state:
            entry["request_id"] = state["request_id"]
        arguments = record.args
        is_access = record.name == _ACCESS_LOGGER and record.levelno == logging.INFO
        if is_access and isinstance(arguments, tuple) and len(arguments) == len(_ACCESS_FIELDS):
            entry.update(zip(_ACCESS_FIELDS, arguments, strict=True))
        name = _key_name(state)
        if name is not None:
            entry["key"] = name
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def configure_logging(log_format: str) -> None:
    """Write this process' log to stderr, from level INFO, on a thread of its own.

    Raises:
        AccessSettingError: there is no such format.
    """
    if log_format not in FORMATS:
        raise AccessSettingError(f"log format {log_format!r} is unknown; expected {' or '.join(FORMATS)}: --log-format")
    # Neither format has these, and each costs every record (logging's documentation, "Optimization").
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    logging._srcfile = None
    handler = LogWriter()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _state_of(record: logging.LogRecord) -> Mapping[str, object]:
    """Return the state of the request that a line is about; empty if it is about none."""
    return {} if record.name == _PROCESS_LOGGER else _state.get() or {}


def _key_name(state: Mapping[str, object]) -> str | None:
    key = state.get(CALLER)
    return key.name if isinstance(key, ApiKey) else None
