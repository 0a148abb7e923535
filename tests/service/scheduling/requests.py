"""Requests to an engine."""

import asyncio
import threading
import time
from collections.abc import Callable

from imaging.preprocess import Tensor
from service.catalogue.catalogue import Servable
from service.scheduling.engine import Engine
from service.scheduling.request_scope import RequestScope
from service.scheduling.variant_queue import Inferred
from service.telemetry.stopwatch import Stopwatch
from tests.service.scripted import HANG, ScriptedBackend, pixels

MINUTE = 60_000

Make = Callable[[str], Servable]
Scripted = type[ScriptedBackend]


def reds_of(scripted: Scripted) -> list[list[int]]:
    """Return the red values of the images of each batch that ran."""
    return [reds for _, reds in scripted.batches]


async def infer(
    engine: Engine,
    servable: Servable,
    red: int | Callable[[], Tensor] = 7,
    timeout_ms: int = MINUTE,
    watch: Stopwatch | None = None,
) -> Inferred:
    source = pixels(red)[None] if isinstance(red, int) else red
    with RequestScope(timeout_ms) as scope:
        return await engine.infer(servable, source, scope, watch or Stopwatch())


def start_request(engine: Engine, servable: Servable, red: int = 7, timeout_ms: int = MINUTE) -> asyncio.Task[Inferred]:
    return asyncio.create_task(infer(engine, servable, red, timeout_ms))


async def wait_until(condition: threading.Event | Callable[[], bool]) -> None:
    """Wait until an event is set or a condition is true."""
    check = condition.is_set if isinstance(condition, threading.Event) else condition
    end = time.monotonic() + 10
    while not check():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


async def start_hanging(engine: Engine, servable: Servable, scripted: Scripted) -> asyncio.Task[Inferred]:
    """Start a request that waits for the gate, and return its task once it runs."""
    task = start_request(engine, servable, HANG)
    await wait_until(scripted.hanging)
    return task
