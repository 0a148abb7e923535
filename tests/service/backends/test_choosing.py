"""`auto` takes OpenVINO on a CPU where a child process compiles with it, and a GPU before any CPU."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from service import backends
from service.backends import choose_backend, openvino_probe
from service.backends.openvino_probe import probe
from service.errors import BackendUnavailableError
from service.loading import load_catalogue
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.scripted import ScriptedBackend

CRASHES = {
    "import os, signal; os.kill(os.getpid(), signal.SIGFPE)": "was ended by SIGFPE",
    "import os, signal; os.kill(os.getpid(), signal.SIGILL)": "was ended by SIGILL",
    "import time; time.sleep(60)": "took longer than 0.5 s",
    "raise RuntimeError('no \\x1b plugin')": r"failed: RuntimeError: no \\x1b plugin",
}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    probe.cache_clear()
    yield
    probe.cache_clear()


def put_program(monkeypatch: pytest.MonkeyPatch, directory: Path, text: str) -> None:
    program = directory / "program.py"
    program.write_text(text)
    monkeypatch.setattr(openvino_probe, "PROGRAM", program)
    monkeypatch.setattr(openvino_probe, "SECONDS", 0.5 if "sleep" in text else 60)


@pytest.mark.parametrize(("program", "reason"), CRASHES.items(), ids=CRASHES.values())
def test_where_the_child_crashes_auto_takes_onnx_runtime_and_says_why_and_a_named_one_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, program: str, reason: str
) -> None:
    put_program(monkeypatch, tmp_path, program)
    add_artifact(tmp_path / "repository")
    with caplog.at_level(logging.WARNING):
        catalogue = load_catalogue(
            Settings(repository=tmp_path / "repository", backend="auto", device="cpu", threads=1)
        )
    assert [servable.backend.name for servable in catalogue.servables()] == ["onnxruntime-cpu"]
    catalogue.close()
    (record,) = caplog.records
    assert "artifacts run on onnxruntime instead" in record.getMessage()
    with pytest.raises(BackendUnavailableError, match=reason) as caught:
        load_catalogue(Settings(repository=tmp_path / "repository", backend="openvino"))
    assert str(caught.value) in record.getMessage()


def test_on_a_cpu_auto_takes_openvino_and_compiles_in_a_child_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = tmp_path / "count"
    text = openvino_probe.PROGRAM.read_text()
    put_program(monkeypatch, tmp_path, f"open({str(count)!r}, 'a').write('x')\n{text}")
    for _ in range(2):
        found, device = choose_backend("auto", "cpu", "fp32")
        assert (found.__name__, device) == ("OpenVinoBackend", "cpu")
    assert count.read_text() == "x"


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
        (("cuda", "cpu"), "auto", ("AcceleratedBackend", "cuda")),
        (("cuda", "cpu"), "cuda", ("AcceleratedBackend", "cuda")),
        (("cuda", "cpu"), "cpu", ("ScriptedBackend", "cpu")),
        (("cpu",), "auto", ("ScriptedBackend", "cpu")),
    ],
)
def test_a_gpu_comes_before_the_cpu_unless_the_cpu_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...], device: str, expected: tuple[str, str]
) -> None:
    monkeypatch.setitem(backends.BACKENDS, "openvino", ("tests.service.scripted", "ScriptedBackend"))
    monkeypatch.setitem(backends.BACKENDS, "onnxruntime", (__name__, "AcceleratedBackend"))
    monkeypatch.setattr(AcceleratedBackend, "devices", devices)
    found, resolved = choose_backend("auto", device, "fp32")
    assert (found.__name__, resolved) == expected


def test_a_device_that_is_named_is_not_replaced_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.BACKENDS, "onnxruntime", (__name__, "AcceleratedBackend"))
    monkeypatch.setattr(AcceleratedBackend, "devices", ("cpu",))
    with pytest.raises(BackendUnavailableError, match="no cuda here"):
        choose_backend("auto", "cuda", "fp32")


def test_where_openvino_is_not_installed_auto_takes_onnx_runtime_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(backends.BACKENDS, "openvino", ("service.backends.not_there", "Nothing"))
    found, _ = choose_backend("auto", "cpu", "fp32")
    assert found.__name__ == "OnnxRuntimeBackend"
    assert "backend openvino is not available: No module named" in caplog.text
    with pytest.raises(BackendUnavailableError, match="install one of posbake's extras"):
        choose_backend("openvino", "auto", "fp32")
