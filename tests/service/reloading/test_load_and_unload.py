"""Models and variants taken out of service by name, and put back."""

import asyncio
from pathlib import Path

import pytest
from starlette.datastructures import State

from service.problems.client_errors import LoadRefusedError, UnknownNameError
from service.problems.server_errors import BackendDownError
from tests.service.artifacts import add_artifact
from tests.service.reloading.conftest import Play
from tests.service.reloading.repositories import damage
from tests.service.reloading.states import refusals, served
from tests.service.scheduling.requests import ask, until
from tests.service.scripted import HANG, ScriptedBackend

pytestmark = pytest.mark.slow

Scripted = type[ScriptedBackend]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`colours`: a (versions 1, 2), b; `shades`: a."""
    for version in (1, 2):
        add_artifact(tmp_path, variant="a", version=version)
    add_artifact(tmp_path, variant="b")
    add_artifact(tmp_path, model="shades", variant="a")
    return tmp_path


def test_a_variant_that_is_unloaded_stays_so_until_it_is_loaded(
    repository: Path, play: Play, scripted: Scripted
) -> None:
    async def scene(state: State) -> None:
        await state.reloader.unload("colours@a")
        assert served(state) == ["colours/b/1", "shades/a/1"]
        assert set(refusals(state)) == {"colours/a/1", "colours/a/2"}
        assert "unloaded on request" in refusals(state)["colours/a/1"]
        add_artifact(repository, variant="a", version=3)
        for _ in range(2):
            await state.reloader.reload()
        assert served(state) == ["colours/b/1", "shades/a/1"]
        assert set(refusals(state)) == {"colours/a/1", "colours/a/2", "colours/a/3"}
        await until(lambda: scripted.closed == ["a", "a"])
        await state.reloader.load("colours@a")
        assert served(state) == ["colours/a/1", "colours/a/2", "colours/a/3", "colours/b/1", "shades/a/1"]
        assert refusals(state) == {}

    play(scene)


def test_a_model_is_all_its_variants(repository: Path, play: Play) -> None:
    async def scene(state: State) -> None:
        await state.reloader.unload("colours")
        assert served(state) == ["shades/a/1"]
        await state.reloader.load("colours@b")
        assert served(state) == ["colours/b/1", "shades/a/1"]
        await state.reloader.load("colours")
        assert served(state) == ["colours/a/1", "colours/a/2", "colours/b/1", "shades/a/1"]

    assert repository.exists()
    play(scene)


def test_all_may_be_unloaded_and_a_request_gets_an_error_that_says_so(repository: Path, play: Play) -> None:
    async def scene(state: State) -> None:
        for model in ("colours", "shades"):
            await state.reloader.unload(model)
        assert served(state) == []
        with pytest.raises(UnknownNameError, match="no model is loaded"):
            state.serving.catalogue.find()
        await state.reloader.load("shades")
        assert state.serving.catalogue.find().key.model == "shades"

    assert repository.exists()
    play(scene)


def test_a_given_default_model_is_never_replaced_by_the_only_one_left(repository: Path, play: Play) -> None:
    async def scene(state: State) -> None:
        await state.reloader.unload("colours")
        with pytest.raises(UnknownNameError, match="model 'colours' is unknown; known: shades"):
            state.serving.catalogue.find()

    assert repository.exists()
    play(scene, default_model="colours")


@pytest.mark.parametrize("name", ["colours@c", "birds", "colours/a", "a", "", "colours@a@b"])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(repository: Path, play: Play, name: str) -> None:
    async def scene(state: State) -> None:
        for change in (state.reloader.load, state.reloader.unload):
            with pytest.raises(UnknownNameError, match="known: colours@a, colours@b, shades@a"):
                await change(name)

    assert repository.exists()
    play(scene)


def test_loading_touches_nothing_else(repository: Path, play: Play) -> None:
    async def scene(state: State) -> None:
        add_artifact(repository, variant="c")
        add_artifact(repository, variant="b", version=2)
        await state.reloader.load("colours@b")
        assert served(state) == ["colours/a/1", "colours/a/2", "colours/b/1", "colours/b/2", "shades/a/1"]

    play(scene)


@pytest.mark.usefixtures("caplog")
def test_what_is_refused_is_tried_again_and_said_to_the_caller(repository: Path, play: Play) -> None:
    damage(repository / "colours/a/2")

    async def scene(state: State) -> None:
        with pytest.raises(LoadRefusedError, match=r"colours/a/2: .*is not the file the manifest describes") as caught:
            await state.reloader.load("colours@a")
        assert str(repository) not in caught.value.detail
        assert served(state) == ["colours/a/1", "colours/b/1", "shades/a/1"]
        await state.reloader.load("colours@b")

    play(scene)


@pytest.mark.usefixtures("caplog")
def test_loading_what_is_down_opens_it_anew_without_waiting_for_its_restart(
    tmp_path: Path, play: Play, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        engine, old = state.serving.engine, state.serving.catalogue.find()
        scripted.broken.add("a")
        with pytest.raises(BackendDownError):
            await ask(engine, old)
        with pytest.raises(LoadRefusedError):
            await state.reloader.load("colours")
        scripted.broken.clear()
        await state.reloader.load("colours")
        assert state.serving.catalogue.find() is not old
        assert (await ask(engine, state.serving.catalogue.find())).logits[0, 0] == 7
        await until(lambda: engine.restarting() == [])

    play(scene)


def test_requests_in_the_queue_of_what_is_unloaded_are_answered(tmp_path: Path, play: Play, scripted: Scripted) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        engine, old = state.serving.engine, state.serving.catalogue.find()
        tasks = [asyncio.create_task(ask(engine, old, red)) for red in (HANG, 1, 2)]  # the first waits for the gate
        await until(scripted.hanging)
        await state.reloader.unload("colours")
        await asyncio.sleep(0.2)
        assert scripted.closed == []
        scripted.gate.set()
        assert [int((await task).logits[0, 0]) for task in tasks] == [HANG, 1, 2]
        await until(lambda: scripted.closed == ["a"])

    play(scene)


def test_what_is_still_in_use_when_the_server_stops_is_closed_too(
    tmp_path: Path, play: Play, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        task = asyncio.create_task(ask(state.serving.engine, state.serving.catalogue.find(), HANG))
        await until(scripted.hanging)
        await state.reloader.unload("colours")
        task.cancel()  # its batch runs on

    play(scene)
    assert scripted.closed == ["a"]
