"""What another thread does, awaited on the event loop."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


def resolve(future: asyncio.Future[T], work: Callable[[], T]) -> None:
    """Do the work, and let a future of the event loop have what it returns or raises, unless it is done; any thread."""
    try:
        resolution = partial(future.set_result, work())
    except BaseException as error:  # noqa: BLE001 -- whoever awaits it gets it
        resolution = partial(future.set_exception, error)
    with suppress(RuntimeError):  # the loop has ended, and with it whoever awaited this
        future.get_loop().call_soon_threadsafe(_unless_done, future, resolution)


async def aside(work: Callable[[], T]) -> T:
    """Return what `work` returns, on a thread of its own that does not keep the process from ending, however long."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    threading.Thread(target=resolve, args=(future, work), name="aside", daemon=True).start()
    return await future


def _unless_done(future: asyncio.Future[T], resolution: Callable[[], None]) -> None:
    if not future.done():
        resolution()
