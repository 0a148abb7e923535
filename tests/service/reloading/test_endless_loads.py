"""Hostile artifacts, and artifacts that never finish loading, delay no others and are refused after the time limit."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.datastructures import State

from artifact import Artifact
from service import backends
from service.problems.client_errors import LoadRefusedError
from service.reloading import loads
from service.resources import time_limit
from service.resources.abandoned import ABANDONED
from tests.service.artifacts import add_artifact
from tests.service.hostile_graphs import add_hostile
from tests.service.reloading.conftest import Play
from tests.service.scheduling.requests import until
from tests.service.scripted import ScriptedBackend

pytestmark = pytest.mark.slow


class StuckBackend(ScriptedBackend):
    """Waits for the gate when it is opened for variant `b`."""

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
        super().__init__(artifact, device, threads, cpu_precision)
        if self.variant == "b":
            self.wait()


@pytest.fixture
def stuck(scripted: type[ScriptedBackend], monkeypatch: pytest.MonkeyPatch) -> type[ScriptedBackend]:
    monkeypatch.setitem(backends.BACKENDS, "stuck", (__name__, "StuckBackend"))
    return scripted


def served(state: State) -> list[str]:
    return [str(servable.key) for servable in state.serving.catalogue.servables()]


def test_all_that_are_hostile_are_refused_and_what_is_added_after_them_is_served(tmp_path: Path, play: Play) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        names = add_hostile(tmp_path)
        add_artifact(tmp_path, variant="z")
        await state.reloader.reload()
        assert served(state) == ["colours/a/1", "colours/z/1"]
        assert [found.name for found in state.serving.catalogue.refused] == names

    play(scene, backend="onnxruntime", load_timeout=1)


def test_others_are_loaded_and_unloaded_while_one_does_not_end_and_the_list_names_it(
    tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch, stuck: type[ScriptedBackend]
) -> None:
    monkeypatch.setattr(loads, "OTHERS_WAIT", 0.05)
    add_artifact(tmp_path, variant="a")
    begun = datetime.now(UTC)

    async def scene(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        add_artifact(tmp_path, variant="c")
        reload = asyncio.create_task(state.reloader.reload())
        await until(lambda: served(state) == ["colours/a/1", "colours/c/1"])
        assert list(state.reloader.loading()) == ["colours/b/1"]
        assert begun <= state.reloader.loading()["colours/b/1"] <= datetime.now(UTC)
        await state.reloader.unload("colours@a")
        await state.reloader.load("colours@a")
        await state.reloader.unload("colours@b")  # is not served once it is loaded
        assert not reload.done()
        stuck.gate.set()
        await reload
        assert served(state) == ["colours/a/1", "colours/c/1"]
        assert state.reloader.loading() == {}
        await until(lambda: stuck.closed.count("b") == 1)
        await state.reloader.load("colours@b")
        assert served(state) == ["colours/a/1", "colours/b/1", "colours/c/1"]

    play(scene, backend="stuck")


def test_one_that_does_not_end_is_refused_after_its_time_and_its_thread_counted(
    tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch, stuck: type[ScriptedBackend]
) -> None:
    add_artifact(tmp_path, variant="a")
    monkeypatch.setattr(time_limit, "GRACE", 0.05)

    async def scene(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        before = ABANDONED.alive()["load"]
        with pytest.raises(LoadRefusedError, match=r"colours/b/1: it was not verified, opened and warm within 0\.5 s"):
            await state.reloader.load("colours@b")
        assert ABANDONED.alive()["load"] == before + 1
        stuck.gate.set()
        await until(lambda: ABANDONED.alive()["load"] == before)
        assert stuck.closed == ["b"]  # what it was about to return

    play(scene, backend="stuck", load_timeout=0.5)
