"""Record of a request: API key, versions that ran, and outcome.

`RequestMiddleware` creates it, `service.inference` fills it, and `Recorder` reads it once, when the request is
finished.
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
    """Run of a request's images on a version."""

    key: VersionKey
    watch: Stopwatch
    images: int = 1
    batch_size: int = 0
    """Number of images in the batch, including other requests; 0 without an output."""
    laps: Laps | None = None
    """Stage times; set with the output."""
    status: int = 0
    """HTTP status of this run in a comparison; 0 if it is that of the request."""
    problem: str | None = None
    """Name of the error of this run."""

    def complete(self, batch_size: int) -> Laps:
        """End the last stage, and return the laps."""
        self.watch.lap("postprocess")
        self.batch_size = batch_size
        self.laps = self.watch.laps()
        return self.laps

    def fail(self, error: ProblemError) -> None:
        """Record an error of this run."""
        self.status, self.problem = error.status, error.name


@dataclass(slots=True, eq=False)
class RequestRecord:
    """Record of one request. Used on the event loop only, except `memory`."""

    request_id: str
    is_inference: bool
    """True if the request runs images. Only such requests are counted."""
    memory: RequestMemory
    """Memory of the request."""
    start: int = field(default_factory=time.perf_counter_ns)
    """Start time in nanoseconds of time.perf_counter_ns."""
    key: VersionKey | None = None
    """Requested version; None while unknown or for several versions."""
    runs: list[Run] = field(default_factory=list)
    status: int = 0
    """HTTP status of the response; 0 before the response."""
    problem: str | None = None
    """Name of the error in the response; None without an error, or for an error of HTTP itself."""
    api_key: str | None = None
    """Name of the accepted API key; None if there is none."""
    is_admin: bool = False
    """True if the key is an admin key."""

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
