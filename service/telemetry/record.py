"""Record of one request: its id and API key, the versions that ran, and its outcome.

`RequestMiddleware` makes it, `service.inference` fills it, `Recorder` reads it once, when the request is finished.
"""

import time
from dataclasses import dataclass, field

from starlette.types import Scope

from artifact import VersionKey
from service.problems.errors import ProblemError
from service.resources.memory import RequestMemory
from service.telemetry.stopwatch import Laps, Stopwatch

_STATE_NAME = "record"


@dataclass(slots=True, eq=False)
class Run:
    """One version's run of a request's images."""

    key: VersionKey
    watch: Stopwatch
    images: int = 1
    batch_size: int = 0
    """Images that ran together, of other requests too; 0 while there is no output."""
    laps: Laps | None = None
    """Set when the output is there."""
    status: int = 0
    """HTTP status of this run alone, in a comparison; 0 where it is that of the request."""
    problem: str | None = None
    """Name of the error of this run alone."""

    def complete(self, batch_size: int) -> Laps:
        """End the last stage, and return the laps."""
        self.watch.lap("postprocess")
        self.batch_size = batch_size
        self.laps = self.watch.laps()
        return self.laps

    def fail(self, error: ProblemError) -> None:
        """Note an error of this run alone."""
        self.status, self.problem = error.status, error.name


@dataclass(slots=True, eq=False)
class RequestRecord:
    """Record of one request. Used on the event loop only, except `memory`."""

    request_id: str
    is_inference: bool
    """True if it runs images. Only these requests are counted."""
    memory: RequestMemory
    """Bytes that the request holds."""
    start: int = field(default_factory=time.perf_counter_ns)
    """In nanoseconds of time.perf_counter_ns."""
    key: VersionKey | None = None
    """The requested version, once it is known; None for several."""
    runs: list[Run] = field(default_factory=list)
    status: int = 0
    """HTTP status of the answer; 0 while there is none."""
    problem: str | None = None
    """Name of the error that was answered; None too if HTTP itself names it."""
    api_key: str | None = None
    """Name of the API key; None if none is needed, or none was accepted."""
    is_admin: bool = False
    """True if that key is an admin's."""

    def microseconds(self) -> int:
        """Return the time since the start."""
        return (time.perf_counter_ns() - self.start) // 1000


def attach(scope: Scope, record: RequestRecord) -> None:
    """Attach a record to the ASGI scope of its request."""
    scope.setdefault("state", {})[_STATE_NAME] = record


def record_of(scope: Scope) -> RequestRecord:
    """Return the record of the request of an ASGI scope."""
    record: RequestRecord = scope["state"][_STATE_NAME]
    return record


def record_in(state: dict[str, object]) -> RequestRecord | None:
    """Return the record in the `state` of an ASGI scope; None while the request has none."""
    record = state.get(_STATE_NAME)
    return record if isinstance(record, RequestRecord) else None
