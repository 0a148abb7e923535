"""`auto` takes a GPU before any CPU, and ONNX Runtime before OpenVINO, which must have compiled in a child process."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from service import backends
from service.backends import choose_backend, openvino_probe
from service.backends.openvino_probe import probe
from service.catalogue.loading import load_catalogue
from service.problems.errors import BackendUnavailableError
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
def test_where_the_child_crashes_the_start_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    put_program(monkeypatch, tmp_path, program)
    add_artifact(tmp_path / "repository")
    with pytest.raises(BackendUnavailableError, match=reason):
        load_catalogue(Settings(repository=tmp_path / "repository", backend="openvino"))


def test_without_onnx_runtime_auto_takes_openvino_says_so_and_compiles_in_a_child_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(backends.BACKENDS, "onnxruntime", ("service.backends.not_there", "Nothing"))
    count = tmp_path / "count"
    text = openvino_probe.PROGRAM.read_text()
    put_program(monkeypatch, tmp_path, f"open({str(count)!r}, 'a').write('x')\n{text}")
    for _ in range(2):
        found, device = choose_backend("auto", "cpu", "fp32")
        assert (found.__name__, device) == ("OpenVinoBackend", "cpu")
    assert count.read_text() == "x"
    assert "backend onnxruntime is not available: No module named" in caplog.text
    assert "artifacts run on openvino instead" in caplog.text


def test_where_neither_is_available_both_reasons_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.BACKENDS, "onnxruntime", ("service.backends.not_there", "Nothing"))
    put_program(monkeypatch, tmp_path, "raise RuntimeError('no plugin')")
    with pytest.raises(BackendUnavailableError, match=r"No module named.*no plugin"):
        choose_backend("auto", "cpu", "fp32")


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
        (("cuda", "cpu"), "cpu", ("AcceleratedBackend", "cpu")),
        (("cpu",), "auto", ("AcceleratedBackend", "cpu")),
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


def test_where_openvino_is_not_installed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.BACKENDS, "openvino", ("service.backends.not_there", "Nothing"))
    found, _ = choose_backend("auto", "cpu", "fp32")
    assert found.__name__ == "OnnxRuntimeBackend"
    with pytest.raises(BackendUnavailableError, match=r"install one of posbake's extras.*openvino"):
        choose_backend("openvino", "auto", "fp32")
