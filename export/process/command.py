"""Execution of a command of `export`: progress, errors in one sentence, output, exit status."""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from export.process.interruption import exit_status, signals_as_interrupts

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED = 0, 1
"""Exit statuses. argparse exits with 2; after signal n, the status is 128 + n."""

_OURS = ("artifact", "engines", "export", "imaging", "models")

Result = TypeVar("Result")


class Progress:
    """Progress line on standard error, if that is a terminal.

    Args:
        is_quiet: True disables it.
    """

    def __init__(self, *, is_quiet: bool) -> None:
        from rich.console import Console

        console = Console(stderr=True)
        self._status = console.status("")
        self._is_visible = console.is_terminal and not is_quiet

    def step(self, name: str) -> AbstractContextManager[object]:
        """Show a step inside the context."""
        self._status.update(f"{name} …")
        return self._status if self._is_visible else nullcontext()

    def phase(self, name: str, done: int, of: int) -> None:
        """Show a phase of the current step, `done` of `of`."""
        self._status.update(f"build: {name}, {done} of {of} …")


@dataclass(frozen=True)
class Command(Generic[Result]):
    """Work and output of a command.

    Attributes:
        work: function that returns the result.
        document: function from the result to the JSON document of --json.
        show: function that prints the result on the terminal.
        errors: errors of `work` whose messages are printed, beside those of `artifact`, `export` and the system.
        succeeded: function that returns whether the exit status is 0; default: always.
        interrupted: message after a signal.
    """

    work: Callable[[Progress], Result]
    document: Callable[[Result], object]
    show: "Callable[[Result, Console], None]"
    errors: tuple[type[Exception], ...] = ()
    succeeded: Callable[[Result], bool] = lambda _: True
    interrupted: str = "interrupted; nothing was written"


def run(options: argparse.Namespace, prepare: Callable[[argparse.Namespace], Command[Result]]) -> int:
    """Run a command and return its exit status.

    Args:
        options: parsed arguments, with `quiet` and `json`.
        prepare: function that returns the command. It also does the imports, which take seconds, so that usage errors
            are reported before.
    """
    interrupted = "interrupted"
    expected: tuple[type[Exception], ...] = (OSError,)
    try:
        with signals_as_interrupts():
            from rich.console import Console

            from artifact import ArtifactError
            from export.process.errors import ExportError

            expected += (ArtifactError, ExportError)
            command = prepare(options)
            interrupted = command.interrupted
            expected += command.errors
            result = command.work(Progress(is_quiet=options.quiet))
    except KeyboardInterrupt as interruption:
        print(interrupted, file=sys.stderr)  # noqa: T201
        return exit_status(interruption)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in _OURS:
            raise
        print(f"error: package {error.name} is not installed; pip install 'posbake[export]'", file=sys.stderr)  # noqa: T201
        return FAILED
    except expected as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return FAILED
    if options.json:
        print(json.dumps(command.document(result), indent=2))  # noqa: T201
    elif not options.quiet:
        command.show(result, Console())
    return DONE if command.succeeded(result) else FAILED
