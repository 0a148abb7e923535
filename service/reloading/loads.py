"""Loads in progress: each in a task of its own, for which other changes wait OTHERS_WAIT seconds at most."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

OTHERS_WAIT = 10.0
"""Seconds that other changes wait for an artifact to be loaded; if it takes longer it is loaded beside them."""


@dataclass(frozen=True)
class _Load:
    since: datetime
    task: asyncio.Task[None]


class Loads:
    """Loads by artifact, `<model>/<variant>/<version>`. Used on the event loop only.

    Args:
        tasks: awaited when the server stops; each load is among them while it lasts.
    """

    def __init__(self, tasks: set[asyncio.Task[None]]) -> None:
        self._tasks = tasks
        self._loads: dict[str, _Load] = {}

    def since(self) -> dict[str, datetime]:
        """Return the start time of each load."""
        return {name: load.since for name, load in self._loads.items()}

    async def begin(self, name: str, load: Coroutine[Any, Any, None]) -> None:
        """Load an artifact that is not being loaded, and return when that is done, or after OTHERS_WAIT.

        Raises:
            Exception: as `load`, before OTHERS_WAIT.
        """

        async def until_done() -> None:
            try:
                await load
            finally:
                del self._loads[name]

        task = asyncio.create_task(until_done())
        self._loads[name] = _Load(datetime.now(UTC), task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        done, _ = await asyncio.wait({task}, timeout=OTHERS_WAIT)
        for ended in done:
            ended.result()

    async def finished(self, chosen: Callable[[str], bool]) -> None:
        """Wait until no chosen artifact is being loaded."""
        tasks = [load.task for name, load in self._loads.items() if chosen(name)]
        if tasks:
            await asyncio.wait(tasks)
