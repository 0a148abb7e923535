"""Servables of the scripted backend, and an engine for them."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from artifact import read_artifact
from service.backends.restartable import Restartable
from service.catalogue.catalogue import Servable
from service.scheduling.engine import Engine
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.scripted import ScriptedBackend

RunScenario = Callable[..., Any]


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
