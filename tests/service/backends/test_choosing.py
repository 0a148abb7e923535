"""Selection of the backend: `auto` prefers a GPU, then OpenVINO if it compiles in a child, then ONNX Runtime."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from artifact import read_artifact
from service import backends
from service.backends import Ways, child, choose_ways
from service.backends.child import first_run
from service.catalogue.loading import load_catalogue
from service.problems.errors import BackendUnavailableError
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.backends.test_golden import add
from tests.service.scripted import ScriptedBackend

pytestmark = pytest.mark.slow

FAILING = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from service.backends import child_program
def fail(_):
    raise RuntimeError("no \\x1b plugin")
child_program._run_small_graph = fail
child_program.main()
"""

CRASHES = {
    "import os, signal; os.kill(os.getpid(), signal.SIGFPE)": "was ended by SIGFPE",
    "import os, signal; os.kill(os.getpid(), signal.SIGILL)": "was ended by SIGILL",
    "import sys; sys.exit(3)": "ended with status 3",
    "import time; time.sleep(60)": r"took longer than 0\.5 s",
    FAILING: r"failed: RuntimeError: no \\x1b plugin",
}


@pytest.fixture(autouse=True)
def forget_first_run() -> Iterator[None]:
    first_run.cache_clear()
    yield
    first_run.cache_clear()


def put_program(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(child, "PROGRAM", text)
    monkeypatch.setattr(child, "SECONDS", 0.5 if "sleep" in text else 60)


def backends_and_devices(ways: Ways) -> list[tuple[str, str]]:
    """Return names and devices of the backends."""
    return [(found.__name__, device) for _, found, device in ways.choices]


@pytest.mark.parametrize(("program", "reason"), CRASHES.items(), ids=CRASHES.values())
def test_if_the_child_crashes_a_named_openvino_stops_the_start_and_auto_skips_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    program: str,
    reason: str,
) -> None:
    put_program(monkeypatch, program)
    add_artifact(tmp_path)
    with pytest.raises(BackendUnavailableError, match=reason):
        load_catalogue(Settings(repository=tmp_path, backend="openvino"))
    catalogue = load_catalogue(Settings(repository=tmp_path, backend="auto", device="cpu"))
    try:
        assert [servable.backend.name for servable in catalogue.servables()] == ["onnxruntime-cpu"]
    finally:
        catalogue.close()
    assert "backend openvino is not available: a child process" in caplog.text
    assert "artifacts run on onnxruntime" in caplog.text


def test_auto_prefers_openvino_and_compiles_in_a_child_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = tmp_path / "count"
    put_program(monkeypatch, f"open({str(count)!r}, 'a').write('x')\n{child.PROGRAM}")
    for _ in range(2):
        found = backends_and_devices(choose_ways("auto", "cpu", "fp32"))
        assert found == [("OpenVinoBackend", "cpu"), ("OnnxRuntimeBackend", "cpu")]
    assert count.read_text() == "x"


@pytest.mark.parametrize(("missing", "left"), [("onnxruntime", "OpenVinoBackend"), ("openvino", "OnnxRuntimeBackend")])
def test_if_one_runtime_is_missing_auto_uses_the_other_and_logs_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: str, left: str
) -> None:
    monkeypatch.setitem(backends.BACKENDS, missing, ("service.backends.not_there", "Nothing"))
    assert backends_and_devices(choose_ways("auto", "cpu", "fp32")) == [(left, "cpu")]
    assert f"backend {missing} is not available: No module named" in caplog.text
    with pytest.raises(BackendUnavailableError, match=r"install one of posbake's extras.*openvino"):
        choose_ways(missing, "auto", "fp32")


def test_if_neither_is_available_both_reasons_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.BACKENDS, "onnxruntime", ("service.backends.not_there", "Nothing"))
    put_program(monkeypatch, FAILING)
    with pytest.raises(BackendUnavailableError, match=r"no .*plugin.*No module named"):
        choose_ways("auto", "cpu", "fp32")


class AcceleratedBackend(ScriptedBackend):
    devices: ClassVar[tuple[str, ...]] = ("cuda", "cpu")

    @staticmethod
    def resolve_device(device: str) -> str:
        if device not in ("auto", *AcceleratedBackend.devices):
            raise BackendUnavailableError(f"no {device} here")
        return AcceleratedBackend.devices[0] if device == "auto" else device


@pytest.mark.parametrize(
    ("devices", "device", "expected"),
    [
        (("cuda", "cpu"), "auto", [("AcceleratedBackend", "cuda")]),
        (("cuda", "cpu"), "cuda", [("AcceleratedBackend", "cuda")]),
        (("cuda", "cpu"), "cpu", [("ScriptedBackend", "cpu"), ("AcceleratedBackend", "cpu")]),
        (("cpu",), "auto", [("ScriptedBackend", "cpu"), ("AcceleratedBackend", "cpu")]),
    ],
)
def test_a_gpu_is_preferred_unless_the_cpu_is_requested(
    monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...], device: str, expected: list[tuple[str, str]]
) -> None:
    monkeypatch.setitem(backends.BACKENDS, "openvino", ("tests.service.scripted", "ScriptedBackend"))
    monkeypatch.setitem(backends.BACKENDS, "onnxruntime", (__name__, "AcceleratedBackend"))
    monkeypatch.setattr(AcceleratedBackend, "devices", devices)
    assert backends_and_devices(choose_ways("auto", device, "fp32")) == expected


def test_a_named_device_is_not_replaced_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.BACKENDS, "onnxruntime", (__name__, "AcceleratedBackend"))
    monkeypatch.setattr(AcceleratedBackend, "devices", ("cpu",))
    with pytest.raises(BackendUnavailableError, match="no cuda here"):
        choose_ways("auto", "cuda", "fp32")


def test_precision_auto_tries_bf16_first_for_fp32_artifacts_with_a_golden_file(tmp_path: Path) -> None:
    checked = read_artifact(add(tmp_path, "checked")).manifest
    add_artifact(tmp_path, variant="unchecked")
    unchecked = read_artifact(tmp_path / "colours/unchecked/1").manifest
    choices = [("openvino", ScriptedBackend, "cpu"), ("onnxruntime", ScriptedBackend, "cpu")]
    expected = ["openvino in bf16", "openvino in fp32", "onnxruntime in fp32"]
    assert list(map(str, Ways(choices, "auto").of(checked))) == expected
    assert list(map(str, Ways(choices, "auto").of(unchecked))) == expected[1:]
    assert list(map(str, Ways(choices, "auto").of(checked.model_copy(update={"precision": "int8"})))) == expected[1:]
    assert list(map(str, Ways(choices, "fp32").of(checked))) == expected[1:]
    assert list(map(str, Ways([("onnxruntime", ScriptedBackend, "cuda")], "auto").of(checked))) == expected[2:]
