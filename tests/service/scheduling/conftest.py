"""Servables of the scripted backend, and an engine for them."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from artifact import read_artifact
from imaging.preprocess import Tensor
from service.backends.restartable import Restartable
from service.catalogue.catalogue import Servable
from service.scheduling.engine import Engine
from service.scheduling.variant_queue import Inferred
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.scheduling.requests import infer, wait_until
from tests.service.scripted import PATIENCE, ScriptedBackend, pixels

RunScenario = Callable[..., Any]

RAISES = -1
"""Value of a pixel whose decode raises."""


class HangingDecodes:
    """Decodes that wait for a gate, and the number of those that have started."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.started = 0

    def decode(self, red: int = 99) -> Tensor:
        self.started += 1
        assert self.gate.wait(PATIENCE)
        if red == RAISES:
            raise RuntimeError("the script says so")
        return pixels(red)[None]

    async def tasks(self, engine: Engine, servable: Servable, count: int) -> list[asyncio.Task[Inferred]]:
        """Return tasks of decodes that have started; `count` is at most the number of idle threads."""
        before = self.started
        tasks = [asyncio.create_task(infer(engine, servable, self.decode)) for _ in range(count)]
        await wait_until(lambda: self.started == before + count)
        return tasks


@pytest.fixture
def servable(tmp_path: Path, scripted: type[ScriptedBackend]) -> Callable[[str], Servable]:
    def make(variant: str) -> Servable:
        add_artifact(tmp_path, variant=variant)
        artifact = read_artifact(tmp_path / "colours" / variant / "1")
        return Servable(artifact, Restartable(lambda: scripted(artifact, "paper", 1)))

    return make


@pytest.fixture
def run_scenario(scripted: type[ScriptedBackend]) -> RunScenario:
    """Return a function that runs a coroutine function with an engine, whose settings are given by keyword.

    The backend is treated as a device unless `on_cores`.
    """

    def run(
        scenario: Callable[[Engine], Coroutine[Any, Any, None]],
        *,
        on_cores: bool = False,
        overlaps: bool = False,
        **settings: object,
    ) -> None:
        async def main() -> None:
            chosen = Settings.model_validate({"threads": 2, **settings})
            engine = Engine(chosen, on_cores=on_cores, overlaps=overlaps)
            try:
                await asyncio.wait_for(scenario(engine), 20)
            finally:
                scripted.gate.set()
                engine.close()

        asyncio.run(main())

    return run


@pytest.fixture
def hanging() -> Iterator[HangingDecodes]:
    found = HangingDecodes()
    yield found
    found.gate.set()
