"""The catalogue follows the repository: what is new, replaced or removed."""

import asyncio
import logging
import shutil
from pathlib import Path

import pytest
from starlette.datastructures import State

from artifact import Accuracy, record_accuracy
from service.catalogue.catalogue import Catalogue
from tests.service.artifacts import add_artifact
from tests.service.reloading.conftest import Play
from tests.service.reloading.repositories import replace_artifact
from tests.service.reloading.states import Scripted, errors, refusals, served
from tests.service.scheduling.requests import ask, until

pytestmark = pytest.mark.slow


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
        assert before.find().key.version == 1  # the old catalogue is unchanged

    play(scene)


def test_a_new_variant_and_a_new_model_are_served_too(tmp_path: Path, play: Play) -> None:
    add_artifact(tmp_path)

    async def scene(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        add_artifact(tmp_path, model="shades", variant="c")
        await state.reloader.reload()
        assert served(state) == ["colours/b/1", "colours/mean/1", "shades/c/1"]

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


def test_a_directory_copied_file_by_file_is_served_when_it_is_complete_without_an_error(
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


def test_an_export_in_progress_is_not_looked_at(tmp_path: Path, play: Play) -> None:
    add_artifact(tmp_path)

    async def scene(state: State) -> None:
        shutil.copytree(tmp_path / "colours/mean/1", tmp_path / "colours/mean/.2-0123456789abcdef")
        await state.reloader.reload()
        assert served(state) == ["colours/mean/1"]
        assert refusals(state) == {}

    play(scene)


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


def test_a_cancelled_caller_does_not_interrupt_a_change(tmp_path: Path, play: Play, scripted: Scripted) -> None:
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
