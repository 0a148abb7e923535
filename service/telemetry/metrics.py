"""Metrics of an app: request counts, and all other metrics that `/metrics` collects at a scrape.

Label values are bounded: names of served versions, statuses and reasons of the service.
"""

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector

from artifact import VersionKey
from service.resources.abandoned import ABANDONED
from service.telemetry.families import (
    VersionState,
    abandoned_families,
    decoding_family,
    load_family,
    request_families,
    stage_family,
    version_families,
)
from service.telemetry.gpu import GpuReader
from service.telemetry.latency import LatencyRecorder
from service.telemetry.statistics import Statistics

T = TypeVar("T")


class Metrics:
    """Request counter and renderer of all metrics. Counting is for the event loop only.

    Args:
        process: returns the families of the process.
        gpus: reader of GPUs; None if the service uses none.
    """

    def __init__(self, process: Callable[[], Iterable[Metric]] = tuple, gpus: GpuReader | None = None) -> None:
        self._process = process
        self.latency = LatencyRecorder()
        self.statistics = Statistics()
        self.gpus = gpus
        self._requests: dict[tuple[VersionKey | None, int], int] = {}
        self._refusals: dict[tuple[VersionKey | None, str], int] = {}
        self._loads = {"success": 0, "failure": 0}

    def count_request(self, key: VersionKey | None, status: int, reason: str | None = None) -> None:
        """Count a classification request.

        Args:
            key: the version; None if none was found.
            status: status of the response.
            reason: name of the error (see `service.problems`); None without an error.
        """
        place = (key, status)
        self._requests[place] = self._requests.get(place, 0) + 1
        if reason is not None:
            why = (key, reason)
            self._refusals[why] = self._refusals.get(why, 0) + 1

    def count_loads(self, succeeded: int, failed: int) -> None:
        """Count loaded and refused artifacts."""
        self._loads["success"] += succeeded
        self._loads["failure"] += failed

    def rejected(self, key: VersionKey) -> int:
        """Return the number of requests to a version that ended with an error. Thread-safe."""
        return sum(count for (version, _), count in self._refusals.copy().items() if version == key)

    def keep_only(self, keys: Collection[VersionKey]) -> None:
        """Remove all other versions, which are no longer served."""
        self.latency.keep_only(keys)
        self.statistics.keep_only(keys)
        self._requests = _of_these(self._requests, keys)
        self._refusals = _of_these(self._refusals, keys)

    def families(self, versions: Iterable[VersionState], decoding: int) -> list[Metric]:
        """Return all metrics. Thread-safe.

        Args:
            versions: states of the served versions.
            decoding: number of images that wait to be decoded.
        """
        requests, refusals = (
            self._requests.copy(),
            self._refusals.copy(),
        )  # a copy, because the event loop continues counting
        return [
            stage_family(self.latency.distributions()),
            *request_families(requests, refusals),
            *version_families(versions),
            decoding_family(decoding),
            load_family(self._loads),
            *abandoned_families(ABANDONED.alive(), ABANDONED.recorded()),
            *self._process(),
            *(self.gpus.families() if self.gpus is not None else ()),
        ]


def text_of(families: list[Metric]) -> bytes:
    """Return families in Prometheus' text format."""
    return generate_latest(_Families(families))


def _of_these(
    counts: dict[tuple[VersionKey | None, T], int], keys: Collection[VersionKey]
) -> dict[tuple[VersionKey | None, T], int]:
    return {place: count for place, count in counts.items() if place[0] is None or place[0] in keys}


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
