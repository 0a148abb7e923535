"""Retirement of replaced versions: closing, and returning of memory, after their last request."""

import asyncio
import logging

from starlette.datastructures import State

from service.catalogue.catalogue import Servable
from service.reloading.generations import Generations
from service.resources.heap import trim_heap
from service.serving import Serving

logger = logging.getLogger(__name__)


class Retiring:
    """Closer of replaced versions. Used on the event loop only.

    Args:
        state: state of the app; its catalogue no longer has the retiring versions.
        generations: generations of the app.
    """

    def __init__(self, state: State, generations: Generations) -> None:
        self._state = state
        self._generations = generations
        self._tasks: dict[Servable, asyncio.Task[None]] = {}

    def begin(self, servable: Servable) -> None:
        """Close a replaced version after all requests that may use it."""
        self._tasks[servable] = asyncio.create_task(self._retire(servable))

    async def stop(self) -> None:
        """Stop waiting."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def close(self) -> None:
        """Close versions that are still in use."""
        for servable in self._tasks:
            servable.backend.close()

    async def _retire(self, servable: Servable) -> None:
        await self._generations.passed()
        serving: Serving = self._state.serving
        await serving.engine.retire(servable)
        await asyncio.to_thread(trim_heap)
        del self._tasks[servable]
        served = [*self._state.serving.catalogue.servables(), *self._tasks]
        serving.metrics.keep_only({other.key for other in served})
        logger.info("closed the replaced version of artifact %s", servable.key)
