"""Shortages of the machine: artifacts are tried again, and served ones remain in service."""

import asyncio
import errno
import os
from pathlib import Path
from typing import ClassVar

import pytest
from starlette.datastructures import State

from artifact import Artifact
from service import backends
from service.reloading import changes
from tests.service.artifacts import add_artifact
from tests.service.reloading.conftest import RunScenario
from tests.service.reloading.states import errors, refusals, served
from tests.service.scheduling.requests import wait_until
from tests.service.scripted import ScriptedBackend

pytestmark = pytest.mark.slow

SHORTAGES = [
    OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    MemoryError(),
]


class ShortBackend(ScriptedBackend):
    """Backend that cannot open variant `b` while there is a shortage."""

    shortage: ClassVar[Exception | None] = None

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
        if artifact.manifest.variant == "b" and self.shortage is not None:
            raise self.shortage
        super().__init__(artifact, device, threads, cpu_precision)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> type[ShortBackend]:
    monkeypatch.setattr("tests.service.scripted.ShortBackend", ShortBackend, raising=False)
    monkeypatch.setitem(backends.BACKENDS, "short", ("tests.service.scripted", "ShortBackend"))
    monkeypatch.setattr(changes, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(ShortBackend, "shortage", None)
    return ShortBackend


@pytest.mark.parametrize("shortage", SHORTAGES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("when", ["start", "reload"])
def test_an_artifact_refused_for_a_shortage_is_served_once_it_has_passed(
    tmp_path: Path,
    run_scenario: RunScenario,
    short: type[ShortBackend],
    shortage: Exception,
    when: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    short.shortage = shortage
    add_artifact(tmp_path, variant="a")
    if when == "start":
        add_artifact(tmp_path, variant="b")

    async def scenario(state: State) -> None:
        if when == "reload":
            add_artifact(tmp_path, variant="b")
            await wait_until(lambda: "colours/b/1" in refusals(state))
        reason = refusals(state)["colours/b/1"]
        assert reason.startswith("it cannot be loaded at the moment: ")
        assert reason.endswith("; it is tried again every 60 s")
        assert errors(caplog)[0] == f"refused artifact colours/b/1: {reason}"
        assert not any(record.exc_info for record in caplog.records)
        short.shortage = None
        await wait_until(lambda: served(state) == ["colours/a/1", "colours/b/1"])
        assert refusals(state) == {}

    run_scenario(scenario, backend="short", reload_seconds=0.02)


def test_an_artifact_with_a_fault_of_its_own_is_not_tried_again(
    tmp_path: Path, run_scenario: RunScenario, short: type[ShortBackend], caplog: pytest.LogCaptureFixture
) -> None:
    short.shortage = RuntimeError("the script says so")
    add_artifact(tmp_path, variant="a")
    add_artifact(tmp_path, variant="b")

    async def scenario(state: State) -> None:
        await asyncio.sleep(0.3)
        assert "tried again" not in refusals(state)["colours/b/1"]
        assert len([text for text in errors(caplog) if text.startswith("refused")]) == 1

    run_scenario(scenario, backend="short", reload_seconds=0.02)


def test_a_server_out_of_file_descriptors_keeps_its_artifacts_and_says_so_without_a_traceback(
    tmp_path: Path, run_scenario: RunScenario, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_artifact(tmp_path, variant="a")

    async def scenario(state: State) -> None:
        def fail(path: Path) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)

        with monkeypatch.context() as out:
            out.setattr(Path, "iterdir", fail)
            await wait_until(lambda: bool(errors(caplog)))
        await asyncio.sleep(0.1)
        assert served(state) == ["colours/a/1"]
        assert refusals(state) == {}
        (record,) = (record for record in caplog.records if "cannot scan" in record.message)
        assert "Too many open files; raise the limit of open files" in record.message
        assert not record.exc_info

    run_scenario(scenario, reload_seconds=0.02)
