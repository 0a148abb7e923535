"""Hostile artifacts and endless loads do not delay others, and are refused after the time limit."""

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
from tests.service.reloading.conftest import RunScenario
from tests.service.scheduling.requests import wait_until
from tests.service.scripted import ScriptedBackend

pytestmark = pytest.mark.slow


class StuckBackend(ScriptedBackend):
    """Scripted backend whose load of variant `b` waits for the gate."""

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


def test_hostile_artifacts_are_refused_and_one_added_after_them_is_served(
    tmp_path: Path, run_scenario: RunScenario
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        names = add_hostile(tmp_path)
        add_artifact(tmp_path, variant="z")
        await state.reloader.reload()
        assert served(state) == ["colours/a/1", "colours/z/1"]
        assert [found.name for found in state.serving.catalogue.refused] == names

    run_scenario(scenario, backend="onnxruntime", load_timeout=1)


def test_others_are_loaded_and_unloaded_during_an_endless_load_which_is_listed(
    tmp_path: Path, run_scenario: RunScenario, monkeypatch: pytest.MonkeyPatch, stuck: type[ScriptedBackend]
) -> None:
    monkeypatch.setattr(loads, "OTHERS_WAIT", 0.05)
    add_artifact(tmp_path, variant="a")
    started = datetime.now(UTC)

    async def scenario(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        add_artifact(tmp_path, variant="c")
        reload = asyncio.create_task(state.reloader.reload())
        await wait_until(lambda: served(state) == ["colours/a/1", "colours/c/1"])
        assert list(state.reloader.loading()) == ["colours/b/1"]
        assert started <= state.reloader.loading()["colours/b/1"] <= datetime.now(UTC)
        await state.reloader.unload("colours@a")
        await state.reloader.load("colours@a")
        await state.reloader.unload("colours@b")  # it will not be served once its load ends
        assert not reload.done()
        stuck.gate.set()
        await reload
        assert served(state) == ["colours/a/1", "colours/c/1"]
        assert state.reloader.loading() == {}
        await wait_until(lambda: stuck.closed.count("b") == 1)
        await state.reloader.load("colours@b")
        assert served(state) == ["colours/a/1", "colours/b/1", "colours/c/1"]

    run_scenario(scenario, backend="stuck")


def test_an_endless_load_is_refused_after_its_time_limit_and_its_thread_counted(
    tmp_path: Path, run_scenario: RunScenario, monkeypatch: pytest.MonkeyPatch, stuck: type[ScriptedBackend]
) -> None:
    add_artifact(tmp_path, variant="a")
    monkeypatch.setattr(time_limit, "GRACE", 0.05)

    async def scenario(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        before = ABANDONED.alive()["load"]
        with pytest.raises(LoadRefusedError, match=r"colours/b/1: it was not verified, opened and warm within 0\.5 s"):
            await state.reloader.load("colours@b")
        assert ABANDONED.alive()["load"] == before + 1
        stuck.gate.set()
        await wait_until(lambda: ABANDONED.alive()["load"] == before)
        assert stuck.closed == ["b"]  # the backend of the abandoned load

    run_scenario(scenario, backend="stuck", load_timeout=0.5)
