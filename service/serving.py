"""Parts of a ready server that routes use."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import State

from imaging.preprocess import Reading
from service.catalogue.catalogue import Catalogue, Servable
from service.problems.server_errors import NotReadyError
from service.processes.shared import Shared
from service.processes.snapshot import Snapshot
from service.scheduling.engine import Engine, Load
from service.settings import Settings
from service.telemetry.families import VersionState
from service.telemetry.latency import LatencyRecorder
from service.telemetry.metrics import Metrics


@dataclass(frozen=True)
class Serving:
    """Parts of a ready server."""

    settings: Settings
    catalogue: Catalogue
    engine: Engine
    latency: LatencyRecorder
    metrics: Metrics
    reading: Reading
    shared: Shared | None = None
    """State shared with the other processes of this service; None for a single process."""

    def down(self) -> list[Servable]:
        """Return the served versions that are being restarted. Replaced versions that are down are not included."""
        served = self.catalogue.servables()
        return [servable for servable in self.engine.restarting() if servable in served]

    def check(self) -> None:
        """Raise NotReadyError if a backend is down, too many threads hang, or another process has not started yet.

        The message includes errors of devices. If keys are required it names no version, because probes have no key.
        """
        if (shortage := self.engine.shortage()) is not None:
            raise NotReadyError(shortage)
        down = sorted(str(servable.key) for servable in self.down())
        if down:
            names = ", ".join(down) if self.settings.api_keys_file is None else f"{len(down)} versions"
            raise NotReadyError("; ".join([f"being restarted: {names}", *self.engine.device_failures()]))
        if self.shared is not None:
            self.shared.check()

    def version_states(self) -> list[VersionState]:
        """Return the state of each version that is served."""
        return [_state_of(servable, self.engine.load(servable)) for servable in self.catalogue.servables()]

    def snapshot(self) -> Snapshot:
        """Return the counts of this process. Event loop only."""
        latency = self.latency
        keys = latency.versions()
        return Snapshot(
            self.metrics.families(self.version_states(), self.engine.decoding),
            {key: latency.counts(key) for key in keys},
            {key: latency.recent_counts(key) for key in keys},
            self.metrics.statistics.copy(),
        )


def _state_of(servable: Servable, load: Load) -> VersionState:
    return VersionState(
        key=servable.key,
        queued=load.admitted,
        running=load.running,
        batches=load.batches,
        restarts=load.restarts,
        down=load.down,
        load_seconds=servable.load_seconds,
        backend=servable.backend.name,
        precision=servable.backend.precision,
    )


def serving_of(state: State) -> Serving:
    """Return the serving state of an app.

    Raises:
        NotReadyError: the app is starting or stopping.
    """
    serving: Serving | None = state.serving
    if serving is None or state.lifecycle.draining:
        raise NotReadyError("the server is starting or stopping; ask /health/ready, or another server")
    return serving


async def _serving(request: Request) -> Serving:  # async, because FastAPI would call it on a pool of 40 threads
    return serving_of(request.app.state)


Ready = Annotated[Serving, Depends(_serving)]
"""Type of a route's parameter for the serving state; 503 until the server is ready, and while it drains."""
