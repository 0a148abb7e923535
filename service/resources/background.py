"""Work on another thread, awaited on the event loop."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from service.resources.abandoned import ABANDONED

T = TypeVar("T")


def settle_soon(future: asyncio.Future[T], outcome: T | BaseException) -> None:
    """Set the result or exception of a future of the event loop, unless it is done. Thread-safe."""
    with suppress(RuntimeError):  # the loop has ended
        future.get_loop().call_soon_threadsafe(_settle, future, outcome)


async def aside(work: Callable[[], T]) -> T:
    """Run `work` on a daemon thread and return its result.

    Cancelling the wait abandons the thread.
    """
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def run() -> None:
        try:
            outcome: T | BaseException = work()
        except BaseException as error:  # noqa: BLE001 -- raised where the work is awaited
            outcome = error
        settle_soon(future, outcome)

    thread = threading.Thread(target=run, name="aside", daemon=True)
    thread.start()
    try:
        return await future
    except asyncio.CancelledError:
        ABANDONED.record(thread, "load")
        raise


def _settle(future: asyncio.Future[T], outcome: T | BaseException) -> None:
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
