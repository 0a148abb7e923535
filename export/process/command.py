"""Run of a command of `export`: its progress, its errors as one sentence, its output and exit status."""

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
"""Exit statuses; argparse ends with 2, a signal n with 128 + n."""

_OURS = ("artifact", "engines", "export", "imaging", "models")

Result = TypeVar("Result")


class Progress:
    """One line on standard error, where that is a terminal.

    Args:
        is_quiet: True shows nothing.
    """

    def __init__(self, *, is_quiet: bool) -> None:
        from rich.console import Console

        console = Console(stderr=True)
        self._status = console.status("")
        self._is_visible = console.is_terminal and not is_quiet

    def step(self, name: str) -> AbstractContextManager[object]:
        """Show a step inside the block."""
        self._status.update(f"{name} …")
        return self._status if self._is_visible else nullcontext()

    def phase(self, name: str, done: int, of: int) -> None:
        """Show a phase of the current step, `done` of `of`."""
        self._status.update(f"build: {name}, {done} of {of} …")


@dataclass(frozen=True)
class Command(Generic[Result]):
    """Work and output of a command.

    Attributes:
        work: returns the result.
        document: returns the result as what --json prints.
        show: prints the result for people.
        errors: that `work` raises beside those of `artifact`, `export` and the system; their messages are for the user.
        succeeded: returns whether the exit status is 0; by default it always is.
        interrupted: printed when a signal ends the work.
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
        options: have `quiet` and `json`.
        prepare: returns the command. It imports what the work needs, which takes seconds: not before the usage is known
            to be right.
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
