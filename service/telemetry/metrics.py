"""Prometheus metrics of one app, in a registry of their own.

`posbake_stage_seconds` observes the same microseconds that the answers state.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from service.telemetry.latency import Key
from service.telemetry.stopwatch import Laps

BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class Metrics:
    """What `/metrics` shows."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._stage_seconds = Histogram(
            "posbake_stage_seconds",
            "Time of one stage of an answered classification.",
            ("model", "variant", "version", "stage"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._requests = Counter(
            "posbake_requests",
            "Classification requests by the status of their answer; "
            "the names are empty if it was refused before a version was found.",
            ("model", "variant", "version", "status"),
            registry=self._registry,
        )

    def observe_stages(self, key: Key, laps: Laps) -> None:
        """Add the stages of one answer."""
        for stage, microseconds in laps.items():
            labels = (key.model, key.variant, str(key.version), stage)
            self._stage_seconds.labels(*labels).observe(microseconds / 1e6)

    def count_request(self, key: Key | None, status: int) -> None:
        """Add one classification request; without a key it named nothing that is served."""
        names = (key.model, key.variant, str(key.version)) if key else ("", "", "")
        self._requests.labels(*names, str(status)).inc()

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
