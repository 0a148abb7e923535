"""Progress bar on stderr, if it is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.offline.running import Result

_UPDATES = 2
"""Updates per second; each takes 1 ms from the worker threads."""


class Bar:
    """Progress bar; see `predicting.Track`.

    Args:
        quiet: whether to show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True)
        self._quiet = quiet or not self._console.is_terminal

    @contextmanager
    def __call__(self, results: Iterator[Result], count: Callable[[], int]) -> Iterator[Iterator[Result]]:
        """Show a progress bar while results are read."""
        if self._quiet:
            yield results
            return
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        with Progress(*columns, console=self._console, refresh_per_second=_UPDATES, transient=True) as progress:
            yield self._advance(results, progress, count())

    def _advance(self, results: Iterator[Result], progress: Progress, total: int) -> Iterator[Result]:
        task = progress.add_task("", total=total, rate="")
        errors = 0
        for result in results:
            errors += result.output is None
            speed = progress.tasks[0].speed
            rate = f"{speed:.0f} images/s" if speed else ""
            progress.update(task, advance=1, rate=f"{rate}, {errors} unreadable" if errors else rate)
            yield result
