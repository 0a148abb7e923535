"""Versions that cannot be loaded are refused with the reason, and served versions remain in service."""

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
from tests.service.reloading.conftest import RunScenario
from tests.service.reloading.repositories import damage, replace_artifact
from tests.service.reloading.states import Scripted, errors, refusals, served
from tests.service.scheduling.requests import infer, wait_until
from tests.service.scripted import ScriptedBackend

pytestmark = pytest.mark.slow


def test_versions_in_a_directory_that_becomes_unreadable_stay_in_service(
    tmp_path: Path, run_scenario: RunScenario
) -> None:
    add_artifact(tmp_path)
    add_artifact(tmp_path, model="shades")

    async def scenario(state: State) -> None:
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

    run_scenario(scenario)


def test_a_variant_of_another_task_than_its_model_is_refused_and_closed(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        add_artifact(tmp_path, variant="b", task="multi-label")
        await state.reloader.reload()
        assert served(state) == ["colours/a/1"]
        assert "its task is multi-label, but that of the served colours/a/1" in refusals(state)["colours/b/1"]
        assert scripted.closed == ["b"]
        shutil.rmtree(tmp_path / "colours/a")
        await state.reloader.reload()
        await state.reloader.load("colours@b")
        assert served(state) == ["colours/b/1"]

    run_scenario(scenario)


def test_a_damaged_version_is_refused_with_the_reason_while_the_old_one_is_served(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        before = state.serving.catalogue.find()
        whole = damage(tmp_path / "colours/a/1")
        await state.reloader.reload()
        assert refusals(state)["colours/a/1"].startswith(
            "colours/a/1: model.onnx is not the file the manifest describes"
        )
        assert len(errors(caplog)) == 1
        assert errors(caplog)[0].endswith("; the version loaded before remains in service")
        assert state.serving.catalogue.find() is before
        assert (await infer(state.serving.engine, before)).logits[0, 0] == 7
        await state.reloader.reload()
        assert len(errors(caplog)) == 1  # unchanged, so it is not retried
        (tmp_path / "colours/a/1/model.onnx").write_bytes(whole)
        await state.reloader.reload()
        assert refusals(state) == {}
        assert state.serving.catalogue.find() is before  # the content is the served one again
        assert (scripted.opened, scripted.closed) == (["a"], [])

    run_scenario(scenario)


def test_a_version_that_fails_its_warm_up_is_refused_and_closed(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        scripted.broken.add("b")
        await state.reloader.reload()
        assert refusals(state) == {"colours/b/1": "loading it failed unexpectedly (RuntimeError); see the server's log"}
        assert served(state) == ["colours/a/1"]
        assert scripted.closed == ["b"]
        assert any("the script says so" in (record.exc_text or "") for record in caplog.records)

    run_scenario(scenario)


def test_a_full_device_refuses_the_new_version_and_keeps_the_old_one(
    tmp_path: Path, run_scenario: RunScenario, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class FullDevice(ScriptedBackend):
        def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
            if artifact.manifest.variant == "b":
                raise BackendUnavailableError(f"device paper is full, at {artifact.path}")
            super().__init__(artifact, device, threads, cpu_precision)

    monkeypatch.setattr("tests.service.scripted.FullDevice", FullDevice, raising=False)
    monkeypatch.setitem(backends.BACKENDS, "full", ("tests.service.scripted", "FullDevice"))
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        await state.reloader.reload()
        assert refusals(state) == {"colours/b/1": "device paper is full, at colours/b/1"}
        assert served(state) == ["colours/a/1"]
        assert len(errors(caplog)) == 1

    run_scenario(scenario, backend="full")


@pytest.mark.parametrize("loss", ["empty", "missing"])
def test_a_missing_repository_is_an_error_and_served_versions_remain(
    tmp_path: Path, run_scenario: RunScenario, loss: str, caplog: pytest.LogCaptureFixture
) -> None:
    repository = tmp_path / "repository"
    add_artifact(repository)

    async def scenario(state: State) -> None:
        repository.rename(tmp_path / "elsewhere")
        if loss == "empty":  # like the mount point of a missing volume
            repository.mkdir()
        with pytest.raises(RepositoryUnreadableError, match="repository") as caught:
            await state.reloader.reload()
        assert str(tmp_path) not in caught.value.detail
        assert {"empty": "add artifacts", "missing": "mount or restore it"}[loss] in caught.value.detail
        await asyncio.sleep(0.2)
        assert served(state) == ["colours/mean/1"]
        assert len(errors(caplog)) == 1  # many listings have failed, and one is logged
        assert not any(record.exc_info for record in caplog.records)
        if loss == "empty":
            repository.rmdir()
        (tmp_path / "elsewhere").rename(repository)
        add_artifact(repository, version=2)
        await wait_until(lambda: "colours/mean/2" in served(state))

    run_scenario(scenario, repository=repository, reload_seconds=0.02)


def test_a_complete_but_damaged_artifact_is_refused_once_and_retried_when_it_changes(
    tmp_path: Path, run_scenario: RunScenario, caplog: pytest.LogCaptureFixture
) -> None:
    add_artifact(tmp_path, variant="a")
    add_artifact(tmp_path / ".elsewhere", variant="b")
    whole = damage(tmp_path / ".elsewhere/colours/b/1")

    async def scenario(state: State) -> None:
        (tmp_path / ".elsewhere/colours/b").rename(tmp_path / "colours/b")
        await wait_until(lambda: "colours/b/1" in refusals(state))
        await asyncio.sleep(0.2)
        assert len(errors(caplog)) == 1
        (tmp_path / "colours/b/1/model.onnx").write_bytes(whole)
        await wait_until(lambda: served(state) == ["colours/a/1", "colours/b/1"])
        assert refusals(state) == {}
        shutil.rmtree(tmp_path / "colours/b")
        await wait_until(lambda: served(state) == ["colours/a/1"])

    run_scenario(scenario, reload_seconds=0.02)


def test_new_content_replaces_a_failed_variant_whose_old_backend_is_not_restarted(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        engine, old = state.serving.engine, state.serving.catalogue.find()
        scripted.broken.add("a")
        with pytest.raises(BackendDownError):
            await infer(engine, old)
        assert engine.restarting() == state.serving.down() == [old]
        without_it = replace(state.serving, catalogue=state.serving.catalogue.without(["colours/a/1"]))
        assert without_it.down() == []  # versions that are not served do not affect readiness
        scripted.broken.clear()
        replace_artifact(tmp_path, "a")
        await state.reloader.reload()
        assert (await infer(engine, state.serving.catalogue.find())).logits[0, 0] == 7
        await wait_until(lambda: engine.restarting() == [])
        await asyncio.sleep(0.7)  # longer than the pause before a restart
        assert scripted.opened == ["a", "a"]

    run_scenario(scenario)


def test_a_restart_does_not_open_unverified_files(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        servable = state.serving.catalogue.find()
        replace_artifact(tmp_path, "a")
        with pytest.raises(ChangedFilesError, match="have changed since it was loaded"):
            servable.restart(8)
        shutil.rmtree(tmp_path / "colours/a/1")
        (tmp_path / ".before-9").rename(tmp_path / "colours/a/1")
        servable.restart(8)  # the same content, although it was moved
        assert scripted.opened == ["a", "a"]

    run_scenario(scenario)


def test_files_that_change_during_the_load_are_refused(
    tmp_path: Path, run_scenario: RunScenario, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class DamagingBackend(ScriptedBackend):
        def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
            super().__init__(artifact, device, threads, cpu_precision)
            if artifact.manifest.variant == "b":
                damage(artifact.path)

    monkeypatch.setattr("tests.service.scripted.DamagingBackend", DamagingBackend, raising=False)
    monkeypatch.setitem(backends.BACKENDS, "damaging", ("tests.service.scripted", "DamagingBackend"))
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        await state.reloader.reload()
        assert "changed while they were read" in refusals(state)["colours/b/1"]
        assert served(state) == ["colours/a/1"]
        assert ScriptedBackend.closed == ["b"]
        assert len(errors(caplog)) == 1

    run_scenario(scenario, backend="damaging")
