"""Versions that cannot be loaded are refused with the reason, and what was served goes on."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.datastructures import State

from artifact import Artifact
from service import backends
from service.problems.errors import BackendUnavailableError, ChangedFilesError
from service.problems.server_errors import BackendDownError, RepositoryUnreadableError
from tests.artifact.privileges import permissions_count
from tests.service.artifacts import add_artifact
from tests.service.reloading.conftest import Play
from tests.service.reloading.repositories import damage, replace_artifact
from tests.service.reloading.states import Scripted, errors, refusals, served
from tests.service.scheduling.requests import ask, until
from tests.service.scripted import ScriptedBackend

pytestmark = pytest.mark.slow


def test_what_is_in_a_directory_that_may_not_be_listed_any_more_is_served_on(tmp_path: Path, play: Play) -> None:
    add_artifact(tmp_path)
    add_artifact(tmp_path, model="shades")

    async def scene(state: State) -> None:
        (tmp_path / "shades").chmod(0o000)
        add_artifact(tmp_path, variant="new")
        with permissions_count():
            for _ in range(3):
                await state.reloader.reload()
        assert served(state) == ["colours/mean/1", "colours/new/1", "shades/mean/1"]
        assert [found.name for found in state.serving.catalogue.refused] == ["shades/?/?"]
        (tmp_path / "shades").chmod(0o700)
        await state.reloader.reload()
        assert len(served(state)) == 3
        assert state.serving.catalogue.refused == ()
        shutil.rmtree(tmp_path / "shades")
        await state.reloader.reload()
        assert served(state) == ["colours/mean/1", "colours/new/1"]

    play(scene)


def test_a_variant_of_another_task_than_its_model_is_refused_and_closed(
    tmp_path: Path, play: Play, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        add_artifact(tmp_path, variant="b", task="multi-label")
        await state.reloader.reload()
        assert served(state) == ["colours/a/1"]
        assert "its task is multi-label, but that of the served colours/a/1" in refusals(state)["colours/b/1"]
        assert scripted.closed == ["b"]
        shutil.rmtree(tmp_path / "colours/a")
        await state.reloader.reload()
        await state.reloader.load("colours@b")
        assert served(state) == ["colours/b/1"]

    play(scene)


def test_a_damaged_version_is_refused_with_the_reason_and_the_old_one_is_served_meanwhile(
    tmp_path: Path, play: Play, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        before = state.serving.catalogue.find()
        whole = damage(tmp_path / "colours/a/1")
        await state.reloader.reload()
        assert refusals(state)["colours/a/1"].startswith(
            "colours/a/1: model.onnx is not the file the manifest describes"
        )
        assert len(errors(caplog)) == 1
        assert errors(caplog)[0].endswith("; the version loaded before remains in service")
        assert state.serving.catalogue.find() is before
        assert (await ask(state.serving.engine, before)).logits[0, 0] == 7
        await state.reloader.reload()
        assert len(errors(caplog)) == 1  # it has not changed, so it was not tried again
        (tmp_path / "colours/a/1/model.onnx").write_bytes(whole)
        await state.reloader.reload()
        assert refusals(state) == {}
        assert state.serving.catalogue.find() is before  # it is what it was
        assert (scripted.opened, scripted.closed) == (["a"], [])

    play(scene)


def test_a_version_that_fails_when_it_is_warmed_is_refused_and_closed(
    tmp_path: Path, play: Play, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        scripted.broken.add("b")
        await state.reloader.reload()
        assert refusals(state) == {"colours/b/1": "loading it failed unexpectedly (RuntimeError); see the server's log"}
        assert served(state) == ["colours/a/1"]
        assert scripted.closed == ["b"]
        assert any("the script says so" in (record.exc_text or "") for record in caplog.records)

    play(scene)


def test_a_device_that_fails_while_serving_refuses_the_new_and_the_old_goes_on(
    tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(ScriptedBackend):
        def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
            if artifact.manifest.variant == "b":
                raise BackendUnavailableError(f"device paper is full, at {artifact.path}")
            super().__init__(artifact, device, threads, cpu_precision)

    monkeypatch.setattr("tests.service.scripted.Full", Full, raising=False)
    monkeypatch.setitem(backends.BACKENDS, "full", ("tests.service.scripted", "Full"))
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        await state.reloader.reload()
        assert refusals(state) == {"colours/b/1": "device paper is full, at colours/b/1"}
        assert served(state) == ["colours/a/1"]
        assert len(errors(caplog)) == 1

    play(scene, backend="full")


@pytest.mark.parametrize("loss", ["empty", "missing"])
def test_a_repository_that_vanishes_changes_nothing_and_is_an_error(
    tmp_path: Path, play: Play, loss: str, caplog: pytest.LogCaptureFixture
) -> None:
    repository = tmp_path / "repository"
    add_artifact(repository)

    async def scene(state: State) -> None:
        repository.rename(tmp_path / "elsewhere")
        if loss == "empty":  # as the mount point of a volume that is not there
            repository.mkdir()
        with pytest.raises(RepositoryUnreadableError, match="repository") as caught:
            await state.reloader.reload()
        assert str(tmp_path) not in caught.value.detail
        await asyncio.sleep(0.2)
        assert served(state) == ["colours/mean/1"]
        assert len(errors(caplog)) == 1  # many looks have failed, and one has said so
        if loss == "empty":
            repository.rmdir()
        (tmp_path / "elsewhere").rename(repository)
        add_artifact(repository, version=2)
        await until(lambda: "colours/mean/2" in served(state))

    play(scene, repository=repository, reload_seconds=0.02)


def test_what_rests_and_is_still_wrong_is_refused_once_and_tried_again_when_it_changes(
    tmp_path: Path, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    add_artifact(tmp_path, variant="a")
    add_artifact(tmp_path / ".elsewhere", variant="b")
    whole = damage(tmp_path / ".elsewhere/colours/b/1")

    async def scene(state: State) -> None:
        (tmp_path / ".elsewhere/colours/b").rename(tmp_path / "colours/b")
        await until(lambda: "colours/b/1" in refusals(state))
        await asyncio.sleep(0.2)
        assert len(errors(caplog)) == 1
        (tmp_path / "colours/b/1/model.onnx").write_bytes(whole)
        await until(lambda: served(state) == ["colours/a/1", "colours/b/1"])
        assert refusals(state) == {}
        shutil.rmtree(tmp_path / "colours/b")
        await until(lambda: served(state) == ["colours/a/1"])

    play(scene, reload_seconds=0.02)


def test_a_variant_that_is_down_is_up_again_with_its_next_content_and_the_old_is_not_restarted(
    tmp_path: Path, play: Play, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        engine, old = state.serving.engine, state.serving.catalogue.find()
        scripted.broken.add("a")
        with pytest.raises(BackendDownError):
            await ask(engine, old)
        assert engine.restarting() == state.serving.down() == [old]
        elsewhere = replace(state.serving, catalogue=state.serving.catalogue.without(["colours/a/1"]))
        assert elsewhere.down() == []  # the server is ready without what it does not serve any more
        scripted.broken.clear()
        replace_artifact(tmp_path, "a")
        await state.reloader.reload()
        assert (await ask(engine, state.serving.catalogue.find())).logits[0, 0] == 7
        await until(lambda: engine.restarting() == [])
        await asyncio.sleep(0.7)  # longer than the pause before the restart that is not to be
        assert scripted.opened == ["a", "a"]

    play(scene)


def test_a_restart_does_not_open_unverified_files(tmp_path: Path, play: Play, scripted: Scripted) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        servable = state.serving.catalogue.find()
        replace_artifact(tmp_path, "a")
        with pytest.raises(ChangedFilesError, match="have changed since it was loaded"):
            servable.restart(8)
        shutil.rmtree(tmp_path / "colours/a/1")
        (tmp_path / ".before-9").rename(tmp_path / "colours/a/1")
        servable.restart(8)  # the same content, though it was moved
        assert scripted.opened == ["a", "a"]

    play(scene)


def test_files_that_change_while_they_are_opened_are_refused(
    tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Late(ScriptedBackend):
        def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
            super().__init__(artifact, device, threads, cpu_precision)
            if artifact.manifest.variant == "b":
                damage(artifact.path)

    monkeypatch.setattr("tests.service.scripted.Late", Late, raising=False)
    monkeypatch.setitem(backends.BACKENDS, "late", ("tests.service.scripted", "Late"))
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        await state.reloader.reload()
        assert "changed while they were read" in refusals(state)["colours/b/1"]
        assert served(state) == ["colours/a/1"]
        assert ScriptedBackend.closed == ["b"]
        assert len(errors(caplog)) == 1

    play(scene, backend="late")
