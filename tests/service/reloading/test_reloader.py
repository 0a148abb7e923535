"""The catalogue follows the repository."""

import asyncio
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.datastructures import State

from artifact import Accuracy, Artifact, record_accuracy
from service import backends
from service.catalogue.catalogue import Catalogue
from service.problems.errors import BackendUnavailableError, ChangedFilesError
from service.problems.server_errors import BackendDownError, RepositoryUnreadableError
from tests.artifact.privileges import permissions_count
from tests.service.artifacts import add_artifact
from tests.service.reloading.conftest import Play
from tests.service.reloading.repositories import damage, replace_artifact
from tests.service.scheduling.requests import ask, until
from tests.service.scripted import ScriptedBackend

pytestmark = pytest.mark.slow

Scripted = type[ScriptedBackend]


def served(state: State) -> list[str]:
    return [str(servable.key) for servable in state.serving.catalogue.servables()]


def refusals(state: State) -> dict[str, str]:
    return {refused.name: refused.reason for refused in state.serving.catalogue.refused}


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_new_version_is_warm_at_both_ends_of_its_batch_before_it_is_the_newest(
    tmp_path: Path, play: Play, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        before = state.serving.catalogue
        add_artifact(tmp_path, variant="a", version=2)
        scripted.batches.clear()
        await state.reloader.reload()
        assert scripted.batches == [("a", [0]), ("a", [0] * 8)]
        assert state.serving.catalogue.find().key.version == 2
        assert state.serving.catalogue.find(version=1) is before.find()  # the other version was left alone
        assert before.find().key.version == 1  # who has the old catalogue is not disturbed

    play(scene)


def test_a_new_variant_and_a_new_model_are_served_too(tmp_path: Path, play: Play) -> None:
    add_artifact(tmp_path)

    async def scene(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        add_artifact(tmp_path, model="shades", variant="c")
        await state.reloader.reload()
        assert served(state) == ["colours/b/1", "colours/mean/1", "shades/c/1"]

    play(scene)


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


def test_an_artifact_that_was_replaced_is_loaded_and_what_it_was_is_closed(
    tmp_path: Path, play: Play, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        before = state.serving.catalogue.find()
        replace_artifact(tmp_path, "a")
        await state.reloader.reload()
        after = state.serving.catalogue.find()
        assert after is not before
        assert after.manifest.files != before.manifest.files
        await until(lambda: scripted.closed == ["a"])
        assert (await ask(state.serving.engine, after)).logits[0, 0] == 7

    play(scene)
    assert scripted.closed == ["a", "a"]


def test_files_that_were_only_touched_are_not_loaded_again(tmp_path: Path, play: Play, scripted: Scripted) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        before = state.serving.catalogue.find()
        graph = tmp_path / "colours/a/1/model.onnx"
        graph.write_bytes(graph.read_bytes())
        await state.reloader.reload()
        assert state.serving.catalogue.find() is before
        assert scripted.opened == ["a"]

    play(scene)


def test_an_accuracy_that_was_recorded_is_served_without_opening_the_network_again(
    tmp_path: Path, play: Play, scripted: Scripted
) -> None:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant, top1=0.5)

    async def scene(state: State) -> None:
        before = state.serving.catalogue.find(variant="b")
        assert state.serving.catalogue.default_variant("colours") == "a"
        measured = Accuracy(dataset="patches", top1=0.75, count=8)
        record_accuracy(tmp_path / "colours/b/1", measured, before.manifest)
        await state.reloader.reload()
        assert state.serving.catalogue.find(variant="b") is before
        assert before.manifest.accuracy == measured
        assert state.serving.catalogue.default_variant("colours") == "b"
        assert (scripted.opened, scripted.closed) == (["a", "b"], [])
        before.restart(8)  # its files are still those that it was loaded from
        assert scripted.opened == ["a", "b", "b"]

    play(scene)


def test_a_damaged_one_is_refused_with_the_reason_and_the_old_goes_on_until_it_is_mended(
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


def test_what_is_removed_is_served_no_more_and_closed(tmp_path: Path, play: Play, scripted: Scripted) -> None:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant)

    async def scene(state: State) -> None:
        shutil.rmtree(tmp_path / "colours/b")
        await state.reloader.reload()
        assert served(state) == ["colours/a/1"]
        await until(lambda: scripted.closed == ["b"])

    play(scene)
    assert scripted.closed == ["b", "a"]


def test_the_numbers_of_what_is_removed_go_too_and_those_of_what_was_replaced_stay(tmp_path: Path, play: Play) -> None:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant)

    async def scene(state: State) -> None:
        a, b = state.serving.catalogue.servables()
        for key in (a.key, b.key):
            state.metrics.latency.record_overdue(key, 1000)
        shutil.rmtree(tmp_path / "colours/b")
        replace_artifact(tmp_path, "a")
        await state.reloader.reload()
        await until(lambda: state.metrics.latency.recent_p95(b.key) is None)
        assert state.metrics.latency.recent_p95(a.key) is not None

    play(scene)


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


def test_a_directory_that_is_copied_file_by_file_is_served_when_it_is_whole_and_nobody_complains(
    tmp_path: Path, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    add_artifact(tmp_path, variant="a")
    add_artifact(tmp_path / ".elsewhere", variant="b")

    async def scene(state: State) -> None:
        source, target = tmp_path / ".elsewhere/colours/b/1", tmp_path / "colours/b/1"
        target.mkdir(parents=True)
        for name in ("labels.txt", "manifest.json", "model.onnx"):
            content = (source / name).read_bytes()
            with (target / name).open("wb") as file:
                for start in range(0, len(content), 100):  # slowly, but never resting for two looks
                    file.write(content[start : start + 100])
                    file.flush()
                    await asyncio.sleep(0.01)
        await until(lambda: served(state) == ["colours/a/1", "colours/b/1"])
        assert errors(caplog) == []
        assert refusals(state) == {}
        waits = [record for record in caplog.records if "may be incomplete" in record.getMessage()]
        assert len(waits) == 1

    play(scene, reload_seconds=0.1)


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


def test_an_export_in_progress_is_not_looked_at(tmp_path: Path, play: Play) -> None:
    add_artifact(tmp_path)

    async def scene(state: State) -> None:
        shutil.copytree(tmp_path / "colours/mean/1", tmp_path / "colours/mean/.2-0123456789abcdef")
        await state.reloader.reload()
        assert served(state) == ["colours/mean/1"]
        assert refusals(state) == {}

    play(scene)


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


def test_a_restart_does_not_open_files_that_nobody_has_verified(tmp_path: Path, play: Play, scripted: Scripted) -> None:
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


def test_changes_that_are_asked_for_at_once_are_made_one_after_another(
    tmp_path: Path, play: Play, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        for version in (2, 3):
            add_artifact(tmp_path, variant="a", version=version)
        await asyncio.gather(*(state.reloader.reload() for _ in range(5)), state.reloader.load("colours"))
        assert scripted.opened == ["a"] * 3
        assert scripted.closed == []

    play(scene)


def test_a_caller_who_leaves_does_not_stop_a_change_half_way(tmp_path: Path, play: Play, scripted: Scripted) -> None:
    add_artifact(tmp_path, variant="a")

    async def scene(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        caller = asyncio.create_task(state.reloader.reload())
        await asyncio.sleep(0)
        caller.cancel()
        await until(lambda: served(state) == ["colours/a/1", "colours/b/1"])

    play(scene)
    assert sorted(scripted.closed) == ["a", "b"]


def test_a_catalogue_from_which_all_was_taken_says_that_nothing_is_loaded(tmp_path: Path, play: Play) -> None:
    add_artifact(tmp_path)

    async def scene(state: State) -> None:
        catalogue: Catalogue = state.serving.catalogue
        assert catalogue.without(["colours/mean/1"]).models() == []
        assert catalogue.without(["colours/mean/2"]).models() == ["colours"]

    play(scene)
