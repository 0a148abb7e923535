"""Progress bar on stderr, if it is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_UPDATES = 2
"""Updates per second; each takes 1 ms from the worker threads."""


class Outcome(Protocol):
    """Outcome of a file."""

    @property
    def failed(self) -> bool:
        """True if the file could not be read or run."""


T = TypeVar("T", bound=Outcome)


class Track(Protocol):
    """Wraps outcomes, given a function for their count, in a progress bar."""

    def __call__(self, outcomes: Iterator[T], count: Callable[[], int]) -> AbstractContextManager[Iterator[T]]:
        """Yield the outcomes; `count` returns their number."""


class Bar:
    """Progress bar; see Track.

    Args:
        quiet: whether to show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True)
        self._quiet = quiet or not self._console.is_terminal

    @contextmanager
    def __call__(self, outcomes: Iterator[T], count: Callable[[], int]) -> Iterator[Iterator[T]]:
        """Show a progress bar while outcomes are read."""
        if self._quiet:
            yield outcomes
            return
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        with Progress(*columns, console=self._console, refresh_per_second=_UPDATES, transient=True) as progress:
            yield self._advance(outcomes, progress, count())

    def _advance(self, outcomes: Iterator[T], progress: Progress, total: int) -> Iterator[T]:
        task = progress.add_task("", total=total, rate="")
        errors = 0
        for outcome in outcomes:
            errors += outcome.failed
            speed = progress.tasks[0].speed
            rate = f"{speed:.0f} images/s" if speed else ""
            progress.update(task, advance=1, rate=f"{rate}, {errors} unreadable" if errors else rate)
            yield outcome
