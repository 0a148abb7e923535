"""An export that is ended before it is done leaves the repository as it was: real exports, really killed."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from export.interruption import exit_status, signals_as_interrupts
from tests.artifact.drafts import write
from tests.artifact.trees import ROOT, tree_of, wait_for
from tests.conftest import DIGITS

SCRIPT = ROOT / "export" / "to_onnx.py"
SINCOS = f"posbake:{DIGITS / 'configs' / 'sincos.json'}"

MOMENTS = {"it began": ".1-*", "the graph appeared": ".1-*/model.onnx"}


@contextmanager
def exporting(repository: Path, *before: str) -> Iterator[subprocess.Popen[str]]:
    """Start an export; `before` are words that come before the command."""
    # What a parent ignores, its children ignore: a shell's background jobs Ctrl-C, and nohup's a hang-up.
    kept = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        process = subprocess.Popen(
            [*before, sys.executable, str(SCRIPT), SINCOS, "--random-weights", "0", "--output", str(repository)],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    with process:
        yield process


def wait_until(moment: str, repository: Path, process: subprocess.Popen[str]) -> None:
    while not list((repository / "digits" / "sincos").glob(MOMENTS[moment])):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "it began"),
        (signal.SIGTERM, "the graph appeared"),
        (signal.SIGKILL, "it began"),
        (signal.SIGKILL, "the graph appeared"),
    ],
)
def test_an_export_that_is_ended_leaves_the_repository_as_it_was(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    write(tmp_path)
    before = tree_of(tmp_path)
    with exporting(tmp_path) as process:
        wait_until(moment, tmp_path, process)
        assert tree_of(tmp_path) != before
        process.send_signal(number)
        _, said = process.communicate()
    if number == signal.SIGKILL:
        assert process.returncode == -number
        wait_for(tmp_path, before)
    else:
        assert process.returncode == 128 + number, said
        assert said == "interrupted; nothing was written\n"
        assert tree_of(tmp_path) == before


def test_a_full_disk_is_one_sentence_and_leaves_the_repository_as_it_was(tmp_path: Path) -> None:
    write(tmp_path)
    before = tree_of(tmp_path)
    limited = ("bash", "-c", 'ulimit -f 64 && exec "$@"', "bash")  # KiB a file; the graph is larger
    with exporting(tmp_path, *limited) as process:
        _, said = process.communicate()
    assert process.returncode == 1
    assert said.startswith(f"error: no room to write {tmp_path}/digits/sincos/1: File too large; ")
    assert said.count("\n") == 1
    assert tree_of(tmp_path) == before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_is_an_interrupt_with_a_status_of_its_own(number: signal.Signals, status: int) -> None:
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


class Unlucky:
    """Is being destroyed when the signal comes."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_an_interrupt_that_a_destructor_swallows_comes_again() -> None:
    with pytest.raises(KeyboardInterrupt), signals_as_interrupts():
        Unlucky()
        still_here = time.monotonic()  # Python has swallowed it
        while time.monotonic() < still_here + 10:
            time.sleep(0.01)
    assert time.monotonic() < still_here + 10


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_interrupts():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_do_afterwards_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals_as_interrupts():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
