"""Deliberately damaged artifacts are refused by name without affecting others, at startup and while serving."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from artifact import Artifact
from service import backends
from service.app import create_app
from service.catalogue.loading import REASON_LIMIT, load_catalogue
from service.problems.errors import BackendUnavailableError
from service.settings import Settings
from tests.artifact.privileges import permissions_count
from tests.service.artifacts import WEIGHTS, add_artifact
from tests.service.hostile_graphs import UNRUNNABLE, add_hostile, endless_loop, index_out_of_range, overflowing_division
from tests.service.pictures import encode, random_pixels
from tests.service.process import MODULE, SECONDS_TO_START, serving
from tests.service.scripted import ScriptedBackend, fresh
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow


class OpeningBackend(ScriptedBackend):
    """Backend that raises at load for the variants in `fails`."""

    fails: ClassVar[dict[str, Exception]] = {}

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
        super().__init__(artifact, device, threads, cpu_precision)
        if self.variant in self.fails:
            raise self.fails[self.variant]


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[OpeningBackend]]:
    with fresh():
        monkeypatch.setitem(backends.BACKENDS, "opening", (__name__, "OpeningBackend"))
        yield OpeningBackend


def load_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "load"]


def test_damaged_artifacts_are_refused_by_name_at_startup_and_intact_ones_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_artifact(tmp_path, variant="a")
    names = add_hostile(tmp_path)
    add_artifact(tmp_path, variant="z")
    start = time.monotonic()
    catalogue = load_catalogue(Settings(repository=tmp_path, backend="onnxruntime", load_timeout=1, threads=1))
    try:
        assert time.monotonic() - start < 60
        assert [str(servable.key) for servable in catalogue.servables()] == ["colours/a/1", "colours/z/1"]
        assert [found.name for found in catalogue.refused] == names
        reasons = {found.reason for found in catalogue.refused}
        assert all(len(reason) <= REASON_LIMIT and reason.isprintable() for reason in reasons)
        assert sum("within 1 s" in reason for reason in reasons) == 1
        for record in caplog.records:
            assert len(record.getMessage()) < REASON_LIMIT + 200
            assert record.getMessage().isprintable()
        assert not [record for record in caplog.records if record.exc_info]  # no unexpected exception
        assert load_threads() == []  # the endless loop was interrupted
    finally:
        catalogue.close()


@pytest.mark.parametrize("backend", ["openvino", "auto"])
def test_artifacts_that_openvino_cannot_run_are_refused_by_name_with_and_without_fallback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, backend: str
) -> None:
    add_artifact(tmp_path, variant="a")
    names = add_hostile(tmp_path, UNRUNNABLE)
    add_artifact(tmp_path, variant="z")
    # The time limit covers compilation in a child process and then in this one.
    settings = Settings(repository=tmp_path, backend=backend, device="cpu", load_timeout=16, threads=1)
    catalogue = load_catalogue(settings)
    try:
        assert [str(servable.key) for servable in catalogue.servables()] == ["colours/a/1", "colours/z/1"]
        assert {servable.backend.name for servable in catalogue.servables()} == {"openvino-cpu"}
        assert {found.name for found in catalogue.refused} == set(names)
        reasons = [found.reason for found in catalogue.refused]
        assert all(len(reason) <= REASON_LIMIT and reason.isprintable() for reason in reasons)
        limits = re.compile("within 16 s|longer than 1[0-6][.0-9]* s")  # of the load, or what is left of it for a child
        timed_out = [found.name for found in catalogue.refused if limits.search(found.reason)]
        assert timed_out == (names[:1] if backend == "auto" else [])  # ONNX Runtime starts the endless loop
        for record in caplog.records:
            assert len(record.getMessage()) < REASON_LIMIT + 200
            assert record.getMessage().isprintable()
        assert "was ended by SIG" in caplog.text
        assert not [record for record in caplog.records if record.exc_info]
        assert load_threads() == []
    finally:
        catalogue.close()


def test_an_artifact_with_an_unprintable_name_is_listed_under_an_escaped_name(
    tmp_path: Path,
) -> None:
    add_artifact(tmp_path)
    for name in (b"\xff\xfe", b"\x1b[2J", b"a\nb", b"x" * 255):
        (tmp_path / "colours" / os.fsdecode(name) / "1").mkdir(parents=True)
    catalogue = load_catalogue(Settings(repository=tmp_path, threads=1))
    try:
        assert [found.name for found in catalogue.refused] == sorted(
            ["colours/\\udcff\\udcfe/1", "colours/\\x1b[2J/1", "colours/a\\nb/1", f"colours/{'x' * 255}/1"]
        )
    finally:
        catalogue.close()


def test_an_unreadable_model_directory_is_refused_by_name(tmp_path: Path) -> None:
    add_artifact(tmp_path, "colours")
    (tmp_path / "lost+found").mkdir(mode=0o000)
    with permissions_count():
        catalogue = load_catalogue(Settings(repository=tmp_path, threads=1))
    try:
        assert catalogue.models() == ["colours"]
        assert [(found.name, found.reason) for found in catalogue.refused] == [
            ("lost+found/?/?", "its directory cannot be listed: Permission denied; give this server read permission")
        ]
    finally:
        catalogue.close()


def test_a_network_without_a_finite_logit_is_refused(tmp_path: Path) -> None:
    add_artifact(tmp_path, variant="a")
    add_artifact(tmp_path, variant="b", weights=WEIGHTS * np.float32("nan"))
    catalogue = load_catalogue(Settings(repository=tmp_path, threads=1))
    try:
        assert [found.name for found in catalogue.refused] == ["colours/b/1"]
        assert "NaN or infinite" in catalogue.refused[0].reason
    finally:
        catalogue.close()


def test_an_artifact_that_runs_out_of_memory_is_refused(
    tmp_path: Path, opening: type[OpeningBackend], caplog: pytest.LogCaptureFixture
) -> None:
    for variant in ("a", "b", "c"):
        add_artifact(tmp_path, variant=variant)
    opening.fails = {"b": MemoryError()}
    catalogue = load_catalogue(Settings(repository=tmp_path, backend="opening"))
    assert [str(servable.key) for servable in catalogue.servables()] == ["colours/a/1", "colours/c/1"]
    assert "at the moment: MemoryError; free memory" in catalogue.refused[0].reason
    assert not any(record.exc_info for record in caplog.records)


def test_a_device_failure_refuses_one_artifact_and_stops_the_start_if_it_affects_all(
    tmp_path: Path, opening: type[OpeningBackend]
) -> None:
    for variant in ("a", "b"):
        add_artifact(tmp_path, variant=variant)
    opening.fails = {"a": BackendUnavailableError(f"device paper failed to come up for {tmp_path}/colours/a/1")}
    catalogue = load_catalogue(Settings(repository=tmp_path, backend="opening"))
    assert [(found.name, found.reason) for found in catalogue.refused] == [
        ("colours/a/1", "device paper failed to come up for colours/a/1; it is tried again every 60 s")
    ]
    opening.fails["b"] = BackendUnavailableError("device paper failed to come up")
    with pytest.raises(BackendUnavailableError, match="failed to come up for colours/a/1"):
        load_catalogue(Settings(repository=tmp_path, backend="opening"))


def test_a_thousand_refusals_do_not_fill_the_list_of_models(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    for number in range(1000):
        path = tmp_path / f"colours/{number:04}/1"
        path.mkdir(parents=True)
        (path / "manifest.json").write_text(json.dumps({"format": "f" * 900}))
    with TestClient(create_app(Settings(repository=tmp_path))) as client:
        answer = client.get("/v1/models")
        assert len(answer.content) < 300_000
        assert (len(answer.json()["refused"]), answer.json()["refused_count"]) == (200, 1000)


def test_a_server_stops_with_status_0_during_an_endless_load(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    add_artifact(repository, variant="a")
    gate = tmp_path / "gate"
    command = (sys.executable, "-m", "tests.service.scripted", str(gate))
    flags = ("--repository", str(repository), "--port", "0", "--reload-seconds", "0.1")
    with serving(tmp_path, *flags, command=command) as server:
        add_artifact(repository, variant="stuck")
        wait_until(gate.with_suffix(".hanging").exists)
        (loading,) = httpx2.get(f"{server.url}/v1/models").json()["loading"]
        assert loading["name"] == "colours/stuck/1"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_server_stops_with_status_0_after_an_endless_loop_was_refused(tmp_path: Path, backend: str) -> None:
    repository = tmp_path / "repository"
    add_artifact(repository, variant="a")
    add_artifact(repository, variant="b")
    endless_loop(repository / "colours/b/1")
    limit = "2" if backend == "onnxruntime" else "30"  # OpenVINO refuses the loop without running it
    flags = ("--repository", str(repository), "--port", "0", "--load-timeout", limit, "--backend", backend)
    with serving(tmp_path, *flags) as server:
        (refused,) = httpx2.get(f"{server.url}/v1/models").json()["refused"]
        assert 'posbake_abandoned_threads{work="load"} 0.0' in httpx2.get(f"{server.url}/metrics").text
        assert refused["name"] == "colours/b/1"
        assert ("cannot be interrupted" if backend == "openvino" else "within 2 s") in refused["reason"]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0


def test_a_server_stops_with_status_0_during_startup(tmp_path: Path) -> None:
    repository, log = tmp_path / "repository", tmp_path / "log"
    add_artifact(repository, variant="a")
    add_artifact(repository, variant="b")
    endless_loop(repository / "colours/b/1")
    with log.open("wb") as out:
        process = subprocess.Popen([*MODULE, "--repository", str(repository), "--port", "0"], stderr=out)
    end = time.monotonic() + SECONDS_TO_START
    while "serving artifact colours/a/1" not in log.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert "stopping at SIGTERM, before the server was ready" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_graph_that_crashes_a_runtime_is_refused_while_others_are_served(tmp_path: Path) -> None:
    """OpenVINO crashes on the first graph. ONNX Runtime would crash on the second, which OpenVINO runs."""
    repository = tmp_path / "repository"
    add_artifact(repository, variant="a")
    flags = ("--repository", str(repository), "--port", "0", "--backend", "auto", "--device", "cpu")
    with serving(tmp_path, *flags, "--reload-seconds", "0.1") as server:
        add_artifact(tmp_path / "damaged", variant="b")
        index_out_of_range(tmp_path / "damaged/colours/b/1")
        add_artifact(tmp_path / "damaged", variant="c")
        overflowing_division(tmp_path / "damaged/colours/c/1")
        for variant in ("b", "c"):
            (tmp_path / "damaged/colours" / variant).rename(repository / "colours" / variant)
        end = time.monotonic() + 30
        while len((found := httpx2.get(f"{server.url}/v1/models").json())["refused"]) + len(served(found)) < 3:
            assert time.monotonic() < end
            answer = httpx2.post(f"{server.url}/v1/classify?variant=a", content=encode(random_pixels(8, 6, 0)))
            assert answer.json()["backend"] == "openvino-cpu"
            time.sleep(0.05)
        assert served(found) == {"a": "openvino-cpu", "c": "openvino-cpu"}
        (refused,) = found["refused"]
        assert refused["name"] == "colours/b/1"
        assert "invalid index found" in refused["reason"]  # ONNX Runtime checks the index
        assert re.search(
            r"artifact colours/b/1: its test run by .* in a child process was ended by SIG", server.log.read_text()
        )


def served(models: Any) -> dict[str, str]:  # noqa: ANN401 -- of JSON
    """Return the backend of each variant."""
    return {found["variant"]: found["backend"] for model in models["models"] for found in model["variants"]}
