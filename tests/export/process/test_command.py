"""Commands: printed results and errors, signals, exit statuses."""

import argparse
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable

import pytest
from rich.console import Console

from artifact import ArtifactError
from export.process.command import DONE, FAILED, Command, Progress, run
from export.process.errors import ExportError


class SourceError(Exception):
    """An error of another package."""


def command(work: Callable[[Progress], int]) -> Callable[[argparse.Namespace], Command[int]]:
    def document(result: int) -> dict[str, object]:
        return {"result": result}

    def show(result: int, console: Console) -> None:
        console.print(f"result {result}")

    return lambda _: Command(work, document, show, (SourceError,), succeeded=lambda result: result > 0)


def options(*, as_json: bool = False, quiet: bool = False) -> argparse.Namespace:
    return argparse.Namespace(json=as_json, quiet=quiet)


def test_a_result_is_shown_or_written_as_json_or_neither(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(options(), command(lambda _: 3)) == DONE
    assert capsys.readouterr().out == "result 3\n"
    assert run(options(as_json=True, quiet=True), command(lambda _: 3)) == DONE
    assert json.loads(capsys.readouterr().out) == {"result": 3}
    assert run(options(quiet=True), command(lambda _: 0)) == FAILED
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [ArtifactError, ExportError, OSError, SourceError])
def test_an_expected_error_is_one_sentence(kind: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: Progress) -> int:
        raise kind("no such file; name another")

    assert run(options(), command(fail)) == FAILED
    assert capsys.readouterr() == ("", "error: no such file; name another\n")


def test_an_internal_error_is_not_hidden() -> None:
    def fail(_: Progress) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(options(), command(fail))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_the_work(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    def wait(_: Progress) -> int:
        os.kill(os.getpid(), number)
        signal.pause()
        return 1

    assert run(options(), command(wait)) == 128 + number
    assert capsys.readouterr() == ("", "interrupted; nothing was written\n")


def test_steps_are_not_shown_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def work(progress: Progress) -> int:
        with progress.step("trace"):
            progress.phase("kernels", 1, 2)
        return 1

    assert run(options(quiet=True), command(work)) == DONE
    assert capsys.readouterr() == ("", "")


def test_a_missing_package_is_named_with_the_extra_that_installs_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def import_missing(_: argparse.Namespace) -> Command[int]:
        importlib.import_module("no_such_library.part")
        raise AssertionError

    def import_own(_: argparse.Namespace) -> Command[int]:
        importlib.import_module("export.no_such_module")
        raise AssertionError

    assert run(options(), import_missing) == FAILED
    message = "error: package no_such_library is not installed; pip install 'posbake[export]'\n"
    assert capsys.readouterr() == ("", message)
    with pytest.raises(ModuleNotFoundError):
        run(options(), import_own)
    monkeypatch.setitem(sys.modules, "rich.console", None)  # as if it were not installed
    assert run(options(), command(lambda _: 1)) == FAILED
    assert "package rich.console is not installed" in capsys.readouterr().err
