"""Loading and unloading of models and variants by name."""

import asyncio
from pathlib import Path

import pytest
from starlette.datastructures import State

from service.problems.client_errors import LoadRefusedError, UnknownNameError
from service.problems.server_errors import BackendDownError
from tests.service.artifacts import add_artifact
from tests.service.reloading.conftest import RunScenario
from tests.service.reloading.repositories import damage
from tests.service.reloading.states import refusals, served
from tests.service.scheduling.requests import infer, wait_until
from tests.service.scripted import HANG, ScriptedBackend

pytestmark = pytest.mark.slow

Scripted = type[ScriptedBackend]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Repository with `colours`: a (versions 1, 2), b; and `shades`: a."""
    for version in (1, 2):
        add_artifact(tmp_path, variant="a", version=version)
    add_artifact(tmp_path, variant="b")
    add_artifact(tmp_path, model="shades", variant="a")
    return tmp_path


def test_an_unloaded_variant_stays_unloaded_until_it_is_loaded(
    repository: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    async def scenario(state: State) -> None:
        await state.reloader.unload("colours@a")
        assert served(state) == ["colours/b/1", "shades/a/1"]
        assert set(refusals(state)) == {"colours/a/1", "colours/a/2"}
        assert "unloaded on request" in refusals(state)["colours/a/1"]
        add_artifact(repository, variant="a", version=3)
        for _ in range(2):
            await state.reloader.reload()
        assert served(state) == ["colours/b/1", "shades/a/1"]
        assert set(refusals(state)) == {"colours/a/1", "colours/a/2", "colours/a/3"}
        await wait_until(lambda: scripted.closed == ["a", "a"])
        await state.reloader.load("colours@a")
        assert served(state) == ["colours/a/1", "colours/a/2", "colours/a/3", "colours/b/1", "shades/a/1"]
        assert refusals(state) == {}

    run_scenario(scenario)


def test_a_models_name_stands_for_all_its_variants(repository: Path, run_scenario: RunScenario) -> None:
    async def scenario(state: State) -> None:
        await state.reloader.unload("colours")
        assert served(state) == ["shades/a/1"]
        await state.reloader.load("colours@b")
        assert served(state) == ["colours/b/1", "shades/a/1"]
        await state.reloader.load("colours")
        assert served(state) == ["colours/a/1", "colours/a/2", "colours/b/1", "shades/a/1"]

    assert repository.exists()
    run_scenario(scenario)


def test_all_models_may_be_unloaded_and_requests_get_an_error(repository: Path, run_scenario: RunScenario) -> None:
    async def scenario(state: State) -> None:
        for model in ("colours", "shades"):
            await state.reloader.unload(model)
        assert served(state) == []
        with pytest.raises(UnknownNameError, match="no model is loaded"):
            state.serving.catalogue.find()
        await state.reloader.load("shades")
        assert state.serving.catalogue.find().key.model == "shades"

    assert repository.exists()
    run_scenario(scenario)


def test_a_configured_default_model_is_never_replaced_by_another(repository: Path, run_scenario: RunScenario) -> None:
    async def scenario(state: State) -> None:
        await state.reloader.unload("colours")
        with pytest.raises(UnknownNameError, match="model 'colours' is unknown; known: shades"):
            state.serving.catalogue.find()

    assert repository.exists()
    run_scenario(scenario, default_model="colours")


@pytest.mark.parametrize("name", ["colours@c", "birds", "colours/a", "a", "", "colours@a@b"])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(
    repository: Path, run_scenario: RunScenario, name: str
) -> None:
    async def scenario(state: State) -> None:
        for change in (state.reloader.load, state.reloader.unload):
            with pytest.raises(UnknownNameError, match="known: colours@a, colours@b, shades@a"):
                await change(name)

    assert repository.exists()
    run_scenario(scenario)


def test_loading_does_not_affect_other_variants(repository: Path, run_scenario: RunScenario) -> None:
    async def scenario(state: State) -> None:
        add_artifact(repository, variant="c")
        add_artifact(repository, variant="b", version=2)
        await state.reloader.load("colours@b")
        assert served(state) == ["colours/a/1", "colours/a/2", "colours/b/1", "colours/b/2", "shades/a/1"]

    run_scenario(scenario)


@pytest.mark.usefixtures("caplog")
def test_a_refused_version_is_retried_and_the_caller_gets_the_reason(
    repository: Path, run_scenario: RunScenario
) -> None:
    damage(repository / "colours/a/2")

    async def scenario(state: State) -> None:
        with pytest.raises(LoadRefusedError, match=r"colours/a/2: .*is not the file the manifest describes") as caught:
            await state.reloader.load("colours@a")
        assert str(repository) not in caught.value.detail
        assert served(state) == ["colours/a/1", "colours/b/1", "shades/a/1"]
        await state.reloader.load("colours@b")

    run_scenario(scenario)


@pytest.mark.usefixtures("caplog")
def test_loading_a_failed_variant_opens_a_new_backend_without_waiting_for_its_restart(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        engine, old = state.serving.engine, state.serving.catalogue.find()
        scripted.broken.add("a")
        with pytest.raises(BackendDownError):
            await infer(engine, old)
        with pytest.raises(LoadRefusedError):
            await state.reloader.load("colours")
        scripted.broken.clear()
        await state.reloader.load("colours")
        assert state.serving.catalogue.find() is not old
        assert (await infer(engine, state.serving.catalogue.find())).logits[0, 0] == 7
        await wait_until(lambda: engine.restarting() == [])

    run_scenario(scenario)


def test_queued_requests_of_an_unloaded_variant_are_served(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        engine, old = state.serving.engine, state.serving.catalogue.find()
        tasks = [asyncio.create_task(infer(engine, old, red)) for red in (HANG, 1, 2)]  # the first waits for the gate
        await wait_until(scripted.hanging)
        await state.reloader.unload("colours")
        await asyncio.sleep(0.2)
        assert scripted.closed == []
        scripted.gate.set()
        assert [int((await task).logits[0, 0]) for task in tasks] == [HANG, 1, 2]
        await wait_until(lambda: scripted.closed == ["a"])

    run_scenario(scenario)


def test_a_backend_in_use_is_closed_when_the_server_stops(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        task = asyncio.create_task(infer(state.serving.engine, state.serving.catalogue.find(), HANG))
        await wait_until(scripted.hanging)
        await state.reloader.unload("colours")
        task.cancel()  # its batch continues to run

    run_scenario(scenario)
    assert scripted.closed == ["a"]
