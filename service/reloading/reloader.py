"""Hot reload: updates of the catalogue from periodic scans of the repository, and from load and unload requests."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from starlette.datastructures import State

from service.catalogue.catalogue import Catalogue, Refused
from service.catalogue.fingerprint import Fingerprint
from service.catalogue.loading import PASSING, Loader, refusal
from service.problems.client_errors import LoadRefusedError, UnknownNameError
from service.problems.errors import BackendUnavailableError, LoadTimeoutError, RefusalError, ServiceError, TaskError
from service.problems.server_errors import NotReadyError
from service.reloading.changes import Changes
from service.reloading.generations import Generations
from service.reloading.loads import Loads
from service.reloading.retiring import Retiring
from service.reloading.sightings import Sighting, look
from service.resources.background import aside
from service.resources.shortages import shortage
from service.serving import Serving
from service.settings import Settings

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds to wait for loads when the server stops; a backend or a file system may hang."""

_REASONS = 20
"""Maximum number of refusals in a response."""

UNLOADED = "it was unloaded on request; load it to serve it again"


class Reloader:
    """Updates the catalogue in `state.serving` when the repository changes, or on request.

    Changes are made one at a time, on the event loop; artifacts are loaded on other threads. A slow load does not delay
    other changes. A version is replaced when the new one is warm, and closed when its last request is answered.

    Args:
        settings: settings of the app.
        state: state of the app, which already serves.
        generations: generations of the app.
    """

    def __init__(self, settings: Settings, state: State, generations: Generations) -> None:
        self._settings = settings
        self._state = state
        self._metrics = state.serving.metrics
        self._loader = Loader(settings)
        self._retiring = Retiring(state, generations)
        passing = [refused.name for refused in self._catalogue.refused if refused.passing]
        self._changes = Changes(self._catalogue.seen, passing)
        self._unloaded: set[str] = set()  # <model>@<variant>
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loads = Loads(self._tasks)
        self._poll: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Start scanning the repository every RELOAD_SECONDS, unless that is 0."""
        if self._settings.reload_seconds:
            self._poll = asyncio.create_task(self._scan_repeatedly(self._settings.reload_seconds))

    async def reload(self) -> None:
        """Update the catalogue from the repository, without waiting for files that may be incomplete.

        Raises:
            RepositoryUnreadableError: the repository cannot be listed, or is empty.
            NotReadyError: the server stops.
        """
        await self._alone(partial(self._update, patient=False))
        await self._loads.finished(lambda _name: True)

    async def load(self, name: str) -> None:
        """Load a model or variant from the repository, even if it was unloaded, refused, or is failing.

        Args:
            name: `<model>` or `<model>@<variant>`.

        Raises:
            UnknownNameError: the name is not in the repository.
            LoadRefusedError: a version of that name cannot be served; the others are loaded.
            RepositoryUnreadableError, NotReadyError: as `reload`.
        """
        await self._alone(partial(self._load, name))
        await self._loads.finished(lambda key: _is_of(key, name))
        reasons = [f"{found.name}: {found.reason}" for found in self._catalogue.refused if _is_of(found.name, name)]
        if reasons:
            raise LoadRefusedError(f"refused {'; '.join(reasons[:_REASONS])}")

    async def unload(self, name: str) -> None:
        """Unload a model or variant until it is loaded again; its requests in flight are answered.

        New versions of its variants are not served either; new variants are.

        Args:
            name: `<model>` or `<model>@<variant>`.

        Raises:
            UnknownNameError: the name is not served.
            NotReadyError: the server stops.
        """
        await self._alone(partial(self._unload, name))

    async def stop(self) -> None:
        """Stop all changes. Loads in progress are awaited for at most PATIENCE."""
        self._stopping = True
        if self._poll is not None:
            self._poll.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=PATIENCE)
            for task in late:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._retiring.stop()

    def loading(self) -> dict[str, datetime]:
        """Return the start time of each load in progress, by `<model>/<variant>/<version>`."""
        return self._loads.since()

    def close(self) -> None:
        """Close replaced versions that are still in use."""
        self._retiring.close()

    @property
    def _catalogue(self) -> Catalogue:
        serving: Serving = self._state.serving
        return serving.catalogue

    def _serve(self, catalogue: Catalogue) -> None:
        self._state.serving = replace(self._state.serving, catalogue=catalogue)

    async def _alone(self, change: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Make a change after earlier ones. Cancelling the caller does not interrupt it."""

        async def in_turn() -> None:
            async with self._lock:
                if self._stopping:
                    raise NotReadyError("the server is stopping; ask another server")
                await change()

        task = asyncio.create_task(in_turn())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def _scan_repeatedly(self, seconds: float) -> None:
        reported = ""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._alone(partial(self._update, patient=True))
                reported = ""
            except Exception as error:  # the task must continue
                if str(error) != reported:  # logged once, not at every scan
                    plain = isinstance(error, ServiceError) or shortage(error) is not None
                    logger.error(
                        "cannot scan %s for changes; served versions are kept: %s",
                        *(self._settings.repository, error),
                        exc_info=not plain,
                    )
                reported = str(error)

    async def _update(self, patient: bool, chosen: Callable[[str], bool] = lambda _name: True) -> None:
        sightings = await aside(partial(look, self._settings.repository))
        found = {name: sighting.seen for name, sighting in sightings.items()}
        for name in self._changes.due(found, patient):
            if self._stopping:
                return
            if name in self._loads.since():
                continue
            sighting = sightings[name]
            if _variant(name) in self._unloaded:
                self._refuse(Refused(name, UNLOADED), sighting.seen)
            elif chosen(name):
                await self._loads.begin(name, self._load_one(sighting, patient))
        hiding = tuple(f"{sighting.hides}/" for sighting in sightings.values() if sighting.hides)
        for name in filter(chosen, self._changes.gone(found, patient)):
            if name.startswith(hiding):
                continue  # it may still exist
            self._changes.forget(name)
            self._take_down(name, "it is no longer in the repository")

    async def _load_one(self, sighting: Sighting, patient: bool) -> None:
        name = str(sighting.location)
        served = self._catalogue.served(name)
        failing = served in self._state.serving.engine.restarting()
        try:
            fresh = await aside(partial(self._loader.open, sighting.location, None if failing else served))
        except (RefusalError, BackendUnavailableError) as error:
            if _variant(name) not in self._unloaded:
                self._refuse_or_wait(sighting, error, patient)
            return
        served = self._catalogue.served(name)
        if _variant(name) in self._unloaded:  # unloaded during the load
            await asyncio.to_thread(fresh.backend.close)
            return
        try:
            self._catalogue.check_task(fresh)
        except TaskError as error:
            self._refuse_or_wait(sighting, error, patient)
            await asyncio.to_thread(fresh.backend.close)
            return
        self._changes.settle(name, sighting.seen)
        self._serve(self._catalogue.with_served(fresh))
        if fresh is not served:
            target = fresh.manifest.target
            logger.info(
                "serving artifact %s on %s in %s, target %s", name, fresh.backend.name, fresh.backend.precision, target
            )
            self._metrics.count_loads(1, 0)
            if served is not None:
                self._retiring.begin(served)

    def _refuse_or_wait(self, sighting: Sighting, error: Exception, patient: bool) -> None:
        name = str(sighting.location)
        known = isinstance(error, (LoadTimeoutError, TaskError, *PASSING))
        final = not patient or known or self._changes.is_final(name)
        if final:
            goes_on = (
                "; the version loaded before remains in service" if self._catalogue.served(name) is not None else ""
            )
            refused = refusal(sighting.location, error, self._settings)
            logger.error("refused artifact %s: %s%s", name, refused.reason, goes_on)
            self._metrics.count_loads(0, 1)
            self._refuse(refused, sighting.seen)
        else:
            logger.info("artifact %s may be incomplete, it is tried again when it stops changing: %s", name, error)
            self._changes.wait(name, sighting.seen)

    def _refuse(self, refused: Refused, seen: Fingerprint) -> None:
        self._changes.settle(refused.name, seen, passing=refused.passing)
        self._serve(self._catalogue.with_refused(refused))

    def _take_down(self, name: str, why: str) -> None:
        served = self._catalogue.served(name)
        self._serve(self._catalogue.without([name]))
        if served is not None:
            logger.info("artifact %s is no longer served: %s", name, why)
            self._retiring.begin(served)

    async def _load(self, name: str) -> None:
        sightings = await aside(partial(look, self._settings.repository))
        chosen = {key for key in sightings if _is_of(key, name)}
        if not chosen:
            raise UnknownNameError(f"the repository has no {name!r}", sorted({_variant(key) for key in sightings}))
        down = {str(servable.key) for servable in self._state.serving.engine.restarting()}
        for key in chosen:
            self._unloaded.discard(_variant(key))
            if key in down or self._catalogue.served(key) is None:
                self._changes.forget(key)
        await self._update(False, lambda key: _is_of(key, name))

    async def _unload(self, name: str) -> None:
        keys = {*(str(servable.key) for servable in self._catalogue.servables()), *self._loads.since()}
        chosen = sorted(key for key in keys if _is_of(key, name))
        if not chosen:
            raise UnknownNameError(f"{name!r} is not served", sorted({_variant(key) for key in keys}))
        for key in chosen:
            self._unloaded.add(_variant(key))
            self._take_down(key, UNLOADED)
            self._serve(self._catalogue.with_refused(Refused(key, UNLOADED)))


def _variant(key: str) -> str:
    """Convert `<model>/<variant>/<version>` to `<model>@<variant>`."""
    model, variant, _ = key.split("/")
    return f"{model}@{variant}"


def _is_of(key: str, name: str) -> bool:
    """Return whether an artifact belongs to `<model>` or `<model>@<variant>`."""
    return name in (key.split("/")[0], _variant(key))
