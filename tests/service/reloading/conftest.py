"""App with the scripted backend, whose reloader is called on its own event loop."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import State

from service.app import create_app
from service.settings import Settings
from tests.service.scripted import ScriptedBackend

RunScenario = Callable[..., Any]


@pytest.fixture
def run_scenario(tmp_path: Path, scripted: type[ScriptedBackend]) -> RunScenario:
    """Return a function that runs a coroutine function with the state of a started app, with settings by keyword.

    The repository is polled only if `reload_seconds` is given.
    """

    def run(scenario: Callable[[State], Coroutine[Any, Any, None]], **settings: object) -> None:
        given = {"repository": tmp_path, "backend": "scripted", "threads": 2, "reload_seconds": 0, **settings}
        app = create_app(Settings.model_validate(given))

        async def main() -> None:
            async with app.router.lifespan_context(app):
                try:
                    await asyncio.wait_for(scenario(app.state), 20)
                finally:
                    scripted.gate.set()

        asyncio.run(main())

    return run
