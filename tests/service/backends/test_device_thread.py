"""Device thread: one thread uses a backend's device, and no other work runs during a capture."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from artifact import read_artifact
from service.backends import device_thread
from service.backends.device_thread import DeviceThread, Turns
from service.backends.onnx_runtime import DEVICES, Device, OnnxRuntimeBackend
from service.backends.onnx_runtime_errors import refuses_capture
from service.backends.warming import warm
from service.problems.errors import BackendUnavailableError
from tests.service.artifacts import add_artifact
from tests.service.backends.test_fixed_batches import IMAGES


@pytest.fixture
def threads() -> Iterator[tuple[Turns, DeviceThread, DeviceThread]]:
    turns = Turns()
    one, other = DeviceThread(turns), DeviceThread(turns)
    yield turns, one, other
    one.close(lambda: None)
    other.close(lambda: None)


def test_sessions_are_opened_run_and_released_on_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, *arguments: object, **named: object) -> None:
            seen.append(("open", threading.get_ident()))
            super().__init__(*arguments, **named)

        def run(self, *arguments: object) -> object:
            seen.append(("plain", threading.get_ident()))
            return super().run(*arguments)

        def run_with_iobinding(self, *arguments: object) -> object:
            seen.append(("fixed", threading.get_ident()))
            return super().run_with_iobinding(*arguments)

        def __del__(self) -> None:
            seen.append(("release", threading.get_ident()))

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setitem(DEVICES, "stand-in", Device({"CPUExecutionProvider": {}}, memory="cpu"))
    add_artifact(tmp_path)
    artifact = read_artifact(tmp_path / "colours/mean/1")
    backend = OnnxRuntimeBackend(artifact, "stand-in", 1)
    warm(artifact, backend, 4)
    with ThreadPoolExecutor(1) as another:
        another.submit(backend.run, IMAGES[:3]).result()
    (device,) = (thread for thread in threading.enumerate() if thread.ident == seen[0][1])
    backend.close()
    device.join(10)
    assert {what for what, _ in seen} == {"open", "plain", "fixed", "release"}
    assert {thread for _, thread in seen} == {device.ident}
    assert device.ident != threading.get_ident()


def test_an_error_reaches_the_caller_and_the_thread_continues(
    threads: tuple[Turns, DeviceThread, DeviceThread],
) -> None:
    _, one, _ = threads
    with pytest.raises(ZeroDivisionError):
        one.call(lambda: 1 / 0)
    assert one.call(lambda: np.arange(3).sum()) == 3


def test_calls_of_two_backends_overlap(threads: tuple[Turns, DeviceThread, DeviceThread]) -> None:
    _, one, other = threads
    both = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(thread.call, lambda: both.wait(10)) for thread in (one, other)]
        assert sorted(future.result() for future in waiting) == [0, 1]


def test_a_capture_waits_for_runs_and_delays_later_ones(
    threads: tuple[Turns, DeviceThread, DeviceThread],
) -> None:
    _, one, other = threads
    started, proceed = threading.Event(), threading.Event()
    order: list[str] = []

    def run() -> None:
        started.set()
        assert proceed.wait(10)
        order.append("run")

    def capture() -> None:
        order.append("capture begins")
        later.append(pool.submit(one.call, lambda: order.append("next run")))
        order.append("capture ends")

    with ThreadPoolExecutor(4) as pool:
        later = [pool.submit(one.call, run)]
        assert started.wait(10)
        captured = pool.submit(lambda: other.call(capture, captures=True))
        proceed.set()
        captured.result()
        for future in later:
            future.result()
    assert order == ["run", "capture begins", "capture ends", "next run"]


def test_while_a_run_hangs_a_capture_is_refused_and_other_runs_continue(
    threads: tuple[Turns, DeviceThread, DeviceThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_thread, "PATIENCE", 0.1)
    turns, one, other = threads
    with turns.call():  # stays in progress
        with pytest.raises(RuntimeError, match=r"did not end within 0\.1 s") as caught:
            one.call(lambda: None, captures=True)
        assert refuses_capture(caught.value)  # so the backend runs without CUDA graphs
        assert other.call(lambda: 1) == 1


def test_while_a_capture_hangs_runs_fail_with_the_reason(
    threads: tuple[Turns, DeviceThread, DeviceThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_thread, "PATIENCE", 0.1)
    turns, one, _ = threads
    with turns.capture(), pytest.raises(BackendUnavailableError, match=r"was not captured within 0\.1 s"):
        one.call(lambda: 1)
    assert one.call(lambda: 1) == 1


def test_a_backend_that_fails_to_load_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEVICES, "stand-in", Device({"CPUExecutionProvider": {}}, memory="cpu"))
    add_artifact(tmp_path, output="scores")  # differs from the manifest
    before = set(threading.enumerate())
    with pytest.raises(Exception, match="the graph's output is"):
        OnnxRuntimeBackend(read_artifact(tmp_path / "colours/mean/1"), "stand-in", 1)
    started = set(threading.enumerate()) - before
    for thread in started:
        thread.join(10)
    assert not any(thread.is_alive() for thread in started)
