"""Hot reload: new, replaced and removed artifacts."""

import asyncio
import logging
import shutil
from pathlib import Path

import pytest
from starlette.datastructures import State

from artifact import Accuracy, record_accuracy
from service.catalogue.catalogue import Catalogue
from tests.service.artifacts import add_artifact
from tests.service.reloading.conftest import RunScenario
from tests.service.reloading.repositories import replace_artifact
from tests.service.reloading.states import Scripted, errors, refusals, served
from tests.service.scheduling.requests import infer, wait_until

pytestmark = pytest.mark.slow


def test_a_new_version_is_warmed_at_batch_1_and_the_maximum_before_it_is_served(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        before = state.serving.catalogue
        add_artifact(tmp_path, variant="a", version=2)
        scripted.batches.clear()
        await state.reloader.reload()
        assert scripted.batches == [("a", [0]), ("a", [0] * 8)]
        assert state.serving.catalogue.find().key.version == 2
        assert state.serving.catalogue.find(version=1) is before.find()  # the other version is unchanged
        assert before.find().key.version == 1  # the old catalogue is unchanged

    run_scenario(scenario)


def test_a_new_variant_and_a_new_model_are_served(tmp_path: Path, run_scenario: RunScenario) -> None:
    add_artifact(tmp_path)

    async def scenario(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        add_artifact(tmp_path, model="shades", variant="c")
        await state.reloader.reload()
        assert served(state) == ["colours/b/1", "colours/mean/1", "shades/c/1"]

    run_scenario(scenario)


def test_a_replaced_artifact_is_loaded_and_the_old_one_is_closed(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        before = state.serving.catalogue.find()
        replace_artifact(tmp_path, "a")
        await state.reloader.reload()
        after = state.serving.catalogue.find()
        assert after is not before
        assert after.manifest.files != before.manifest.files
        await wait_until(lambda: scripted.closed == ["a"])
        assert (await infer(state.serving.engine, after)).logits[0, 0] == 7

    run_scenario(scenario)
    assert scripted.closed == ["a", "a"]


def test_rewritten_but_equal_files_are_not_loaded_again(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        before = state.serving.catalogue.find()
        graph = tmp_path / "colours/a/1/model.onnx"
        graph.write_bytes(graph.read_bytes())
        await state.reloader.reload()
        assert state.serving.catalogue.find() is before
        assert scripted.opened == ["a"]

    run_scenario(scenario)


def test_a_recorded_accuracy_is_served_without_loading_the_network_again(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant, top1=0.5)

    async def scenario(state: State) -> None:
        before = state.serving.catalogue.find(variant="b")
        assert state.serving.catalogue.default_variant("colours") == "a"
        measured = Accuracy(dataset="patches", top1=0.75, count=8)
        record_accuracy(tmp_path / "colours/b/1", measured, before.manifest)
        await state.reloader.reload()
        assert state.serving.catalogue.find(variant="b") is before
        assert before.manifest.accuracy == measured
        assert state.serving.catalogue.default_variant("colours") == "b"
        assert (scripted.opened, scripted.closed) == (["a", "b"], [])
        before.restart(8)  # its files still match the loaded ones
        assert scripted.opened == ["a", "b", "b"]

    run_scenario(scenario)


def test_a_removed_variant_is_no_longer_served_and_is_closed(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant)

    async def scenario(state: State) -> None:
        shutil.rmtree(tmp_path / "colours/b")
        await state.reloader.reload()
        assert served(state) == ["colours/a/1"]
        await wait_until(lambda: scripted.closed == ["b"])

    run_scenario(scenario)
    assert scripted.closed == ["b", "a"]


def test_latencies_of_a_removed_variant_are_dropped_and_those_of_a_replaced_one_kept(
    tmp_path: Path, run_scenario: RunScenario
) -> None:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant)

    async def scenario(state: State) -> None:
        a, b = state.serving.catalogue.servables()
        for key in (a.key, b.key):
            state.metrics.latency.record_overdue(key, 1000)
        shutil.rmtree(tmp_path / "colours/b")
        replace_artifact(tmp_path, "a")
        await state.reloader.reload()
        await wait_until(lambda: state.metrics.latency.recent_p95(b.key) is None)
        assert state.metrics.latency.recent_p95(a.key) is not None

    run_scenario(scenario)


def test_a_directory_copied_file_by_file_is_served_once_complete_without_an_error(
    tmp_path: Path, run_scenario: RunScenario, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    add_artifact(tmp_path, variant="a")
    add_artifact(tmp_path / ".elsewhere", variant="b")

    async def scenario(state: State) -> None:
        source, target = tmp_path / ".elsewhere/colours/b/1", tmp_path / "colours/b/1"
        target.mkdir(parents=True)
        for name in ("labels.txt", "manifest.json", "model.onnx"):
            content = (source / name).read_bytes()
            with (target / name).open("wb") as file:
                for start in range(0, len(content), 100):  # slowly, but changing between any two listings
                    file.write(content[start : start + 100])
                    file.flush()
                    await asyncio.sleep(0.01)
        await wait_until(lambda: served(state) == ["colours/a/1", "colours/b/1"])
        assert errors(caplog) == []
        assert refusals(state) == {}
        waits = [record for record in caplog.records if "may be incomplete" in record.getMessage()]
        assert len(waits) == 1

    run_scenario(scenario, reload_seconds=0.1)


def test_an_export_in_progress_is_ignored(tmp_path: Path, run_scenario: RunScenario) -> None:
    add_artifact(tmp_path)

    async def scenario(state: State) -> None:
        shutil.copytree(tmp_path / "colours/mean/1", tmp_path / "colours/mean/.2-0123456789abcdef")
        await state.reloader.reload()
        assert served(state) == ["colours/mean/1"]
        assert refusals(state) == {}

    run_scenario(scenario)


def test_concurrent_changes_are_made_one_after_another(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        for version in (2, 3):
            add_artifact(tmp_path, variant="a", version=version)
        await asyncio.gather(*(state.reloader.reload() for _ in range(5)), state.reloader.load("colours"))
        assert scripted.opened == ["a"] * 3
        assert scripted.closed == []

    run_scenario(scenario)


def test_a_cancelled_caller_does_not_interrupt_a_change(
    tmp_path: Path, run_scenario: RunScenario, scripted: Scripted
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        add_artifact(tmp_path, variant="b")
        caller = asyncio.create_task(state.reloader.reload())
        await asyncio.sleep(0)
        caller.cancel()
        await wait_until(lambda: served(state) == ["colours/a/1", "colours/b/1"])

    run_scenario(scenario)
    assert sorted(scripted.closed) == ["a", "b"]


def test_a_catalogue_without_its_only_version_has_no_models(tmp_path: Path, run_scenario: RunScenario) -> None:
    add_artifact(tmp_path)

    async def scenario(state: State) -> None:
        catalogue: Catalogue = state.serving.catalogue
        assert catalogue.without(["colours/mean/1"]).models() == []
        assert catalogue.without(["colours/mean/2"]).models() == ["colours"]

    run_scenario(scenario)
