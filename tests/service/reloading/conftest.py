"""An app of the scripted backend, whose reloader is asked on its own event loop."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import State

from service.app import create_app
from service.settings import Settings
from tests.service.scripted import ScriptedBackend, fresh

Play = Callable[..., Any]


@pytest.fixture
def scripted() -> Iterator[type[ScriptedBackend]]:
    with fresh() as backend:
        yield backend


@pytest.fixture
def play(tmp_path: Path, scripted: type[ScriptedBackend]) -> Play:
    """Run a scene, a coroutine function that gets the state of an app that has started; settings by name.

    The repository is not polled unless the scene's settings say so.
    """

    def run(scene: Callable[[State], Coroutine[Any, Any, None]], **settings: object) -> None:
        given = {"repository": tmp_path, "backend": "scripted", "threads": 2, "reload_seconds": 0, **settings}
        app = create_app(Settings.model_validate(given))

        async def main() -> None:
            async with app.router.lifespan_context(app):
                try:
                    await asyncio.wait_for(scene(app.state), 20)
                finally:
                    scripted.gate.set()

        asyncio.run(main())

    return run
