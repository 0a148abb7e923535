"""Killed and interrupted exports leave the repository unchanged: actual processes and signals."""

import _thread
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from export.process.interruption import exit_status, signals_as_interrupts
from export.to_onnx import main
from tests.artifact.drafts import write
from tests.artifact.trees import tree_of, wait_for
from tests.conftest import DIGITS

pytestmark = pytest.mark.slow

SINCOS = f"posbake:{DIGITS / 'configs' / 'sincos.json'}"
LARGEST_FILE = 65536
"""Limit of a file's size in bytes; the graph is larger."""
MOMENTS = {"the export begins": ".1-*", "the graph is written": ".1-*/model.onnx"}

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["export.pipeline", "tests.export.conftest"])  # imported once, not by each export


def export(repository: Path, errors: Path, largest_file: int | None) -> None:
    """Run the command and exit with its status."""
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), sys.stderr.fileno())
    # Ignored signals are inherited: SIGINT from a shell's background jobs, SIGHUP from nohup.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sys.exit(main([SINCOS, "--random-weights", "0", "--output", str(repository), "--batch", "1:1", "--quiet"]))


@contextmanager
def exporting(repository: Path, errors: Path, largest_file: int | None = None) -> Iterator[BaseProcess]:
    """Start an export in a separate process that writes its errors to `errors`."""
    process = FORKED.Process(target=export, args=(repository, errors, largest_file))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def wait_until(moment: str, repository: Path, process: BaseProcess) -> None:
    while not list((repository / "digits" / "sincos").glob(MOMENTS[moment])):
        assert process.is_alive()
        time.sleep(0.002)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_or_interrupted_export_leaves_the_repository_unchanged(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    repository, errors = tmp_path / "repository", tmp_path / "errors"
    write(repository)
    before = tree_of(repository)
    with exporting(repository, errors) as process:
        wait_until(moment, repository, process)
        assert tree_of(repository) != before
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join()
    if number == signal.SIGKILL:
        assert process.exitcode == -number
        wait_for(repository, before)
    else:
        assert process.exitcode == 128 + number, errors.read_text()
        assert errors.read_text() == "interrupted; nothing was written\n"
        assert tree_of(repository) == before


def test_a_full_disk_is_one_sentence_and_leaves_the_repository_unchanged(tmp_path: Path) -> None:
    repository, errors = tmp_path / "repository", tmp_path / "errors"
    write(repository)
    before = tree_of(repository)
    with exporting(repository, errors, LARGEST_FILE) as process:
        process.join()
    assert process.exitcode == 1
    assert errors.read_text().startswith(f"error: no space to write {repository}/digits/sincos/1: File too large; ")
    assert errors.read_text().count("\n") == 1
    assert tree_of(repository) == before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_is_an_interrupt_with_its_own_exit_status(number: signal.Signals, status: int) -> None:
    kept = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt) as raised, signals_as_interrupts():
            signal.raise_signal(number)
    finally:
        for restored, handler in kept.items():
            signal.signal(restored, handler)
    assert exit_status(raised.value) == status


class SignalInDestructor:
    """An object whose destructor raises a signal."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_an_interrupt_lost_in_a_destructor_is_raised_again() -> None:
    with pytest.raises(KeyboardInterrupt), signals_as_interrupts():
        SignalInDestructor()
        still_here = time.monotonic()  # Python ignores exceptions of destructors
        while time.monotonic() < still_here + 10:
            time.sleep(0.01)
    assert time.monotonic() < still_here + 10


def test_an_interrupt_during_the_recovery_of_a_lost_one_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    start = _thread.start_new_thread
    slept: list[int] = []

    def start_and_sleep(function: Callable[[], object], arguments: tuple[()]) -> int:
        started = start(function, arguments)
        if not slept:
            slept.append(started)
            time.sleep(0.2)  # in the unraisable hook, which the next interrupt hits
        return started

    monkeypatch.setattr(_thread, "start_new_thread", start_and_sleep)
    end = time.monotonic() + 10
    with pytest.raises(KeyboardInterrupt), signals_as_interrupts():
        SignalInDestructor()
        while time.monotonic() < end:
            time.sleep(0.01)
    assert slept


def test_an_interrupt_that_numpy_replaces_by_its_own_error_stays_an_interrupt() -> None:
    """NumPy compares structured arrays with a function in Python, and raises a TypeError for any error in it."""
    array = np.zeros(2, dtype=[("name", int)])

    def signal_in_numpy(frame: FrameType, event: str, _: object) -> None:
        if (event, frame.f_code.co_name) == ("call", "_promote_fields"):
            sys.setprofile(None)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt) as caught, signals_as_interrupts():
        sys.setprofile(signal_in_numpy)
        array == array[::-1]  # noqa: B015
    assert exit_status(caught.value) == 143
    assert isinstance(caught.value.__cause__, TypeError)


def test_an_error_without_a_signal_is_not_an_interrupt() -> None:
    with pytest.raises(ZeroDivisionError), signals_as_interrupts():
        raise ZeroDivisionError


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_interrupts():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signal_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals_as_interrupts():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
