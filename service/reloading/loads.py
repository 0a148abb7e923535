"""Loads in progress, each in its own task; other changes wait for a load at most OTHERS_WAIT seconds."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

OTHERS_WAIT = 10.0
"""Seconds that other changes wait for a load; a longer load continues concurrently."""


@dataclass(frozen=True)
class _Load:
    since: datetime
    task: asyncio.Task[None]


class Loads:
    """Loads by artifact, `<model>/<variant>/<version>`. Used on the event loop only.

    Args:
        tasks: tasks that are awaited when the server stops; contains each load while it runs.
    """

    def __init__(self, tasks: set[asyncio.Task[None]]) -> None:
        self._tasks = tasks
        self._loads: dict[str, _Load] = {}

    def since(self) -> dict[str, datetime]:
        """Return the start time of each load."""
        return {name: load.since for name, load in self._loads.items()}

    async def begin(self, name: str, load: Coroutine[Any, Any, None]) -> None:
        """Start loading an artifact, and return when it is loaded, or after OTHERS_WAIT.

        Raises:
            Exception: any exception of `load` within OTHERS_WAIT.
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
