"""Recorder of finished requests, which updates latency, statistics, metrics and traces."""

from http import HTTPStatus

from starlette.types import Scope

from service.problems.server_errors import DeadlineError
from service.telemetry.metrics import Metrics
from service.telemetry.record import RequestRecord, Run
from service.telemetry.tracing import Traces


class Recorder:
    """Recorder of each request once, when it is finished. Used on the event loop only.

    Args:
        metrics: request counts, latency and statistics.
        traces: spans; None without a collector.
    """

    def __init__(self, metrics: Metrics, traces: Traces | None = None) -> None:
        self.metrics = metrics
        self.traces = traces

    def finish(self, record: RequestRecord, scope: Scope) -> None:
        """Record a finished request: each run separately, or the request if nothing ran.

        A request without a response, because the process ends or its task was closed, is not counted.

        Args:
            record: the complete record.
            scope: scope of ASGI, after routing.
        """
        if record.is_inference and record.status:
            for run in record.runs:
                self._count_run(record, run)
            if not record.runs:
                self._count_refused(record)
        if self.traces is not None:
            self.traces.add(record, scope)

    def _count_run(self, record: RequestRecord, run: Run) -> None:
        """Count a run by its own outcome, or by that of the request."""
        metrics, key = self.metrics, run.key
        status = run.status or record.status
        if status < 400 and run.laps is not None:
            metrics.count_request(key, status)
            metrics.latency.record(key, run.laps)
            metrics.statistics.succeeded(key, run.laps, run.images, run.batch_size)
            return
        reason = run.problem if run.status else _reason(record)
        metrics.count_request(key, status, reason)
        metrics.statistics.failed(key, run.watch.elapsed() if run.status else record.microseconds())
        if reason == DeadlineError.name:
            metrics.latency.record_overdue(key, run.watch.elapsed())

    def _count_refused(self, record: RequestRecord) -> None:
        """Count a request that ended before anything ran."""
        refused = record.status >= 400
        self.metrics.count_request(record.key, record.status, _reason(record) if refused else None)
        if record.key is not None and refused:
            self.metrics.statistics.failed(record.key, record.microseconds())


def _reason(record: RequestRecord) -> str:
    """Return the name of the error; for an error before the routes, the name of its status."""
    return record.problem or HTTPStatus(record.status).phrase.lower().replace(" ", "-")
