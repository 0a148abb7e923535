"""Lifespan of the app: loading and warm-up before it is ready, closing at the end."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from PIL import Image
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imaging.decode import pillow_pixel_limit
from imaging.preprocess import Reading
from service.catalogue.catalogue import Catalogue
from service.catalogue.loading import load_catalogue
from service.problems.errors import StartupError
from service.processes.shared import Shared
from service.reloading.generations import Generations
from service.reloading.reloader import Reloader
from service.resources.background import aside
from service.scheduling.engine import Engine
from service.serving import Serving
from service.settings import Settings
from service.telemetry.gpu import GpuReader
from service.telemetry.recorder import Recorder
from service.telemetry.tracing import Traces

logger = logging.getLogger("service")

PUBLISH_SECONDS = 0.5
"""Maximum age of the counts of other processes, in seconds."""

TRACES_SECONDS = 3.0
"""Time to send the remaining traces at shutdown, in seconds."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def lifespan_of(
    settings: Settings,
    reading: Reading,
    recorder: Recorder,
    generations: Generations,
    catalogue: Catalogue | None,
    shared: Shared | None,
) -> Lifespan:
    """Return a lifespan that sets `app.state.serving` and `app.state.reloader` at start-up, and closes them at
    shutdown.

    Args:
        settings: settings of the app.
        reading: settings of image reading.
        recorder: recorder of the app; its traces are flushed at the end.
        generations: generations of the app.
        catalogue: already loaded catalogue; None loads it at start-up. It is closed at shutdown in both cases.
        shared: state shared with other processes, which receives this one's counts; None for a single process.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loaded = catalogue if catalogue is not None else load_catalogue(settings)
        metrics = recorder.metrics
        metrics.count_loads(len(loaded.servables()), len(loaded.refused))
        metrics.gpus = GpuReader.of(servable.backend.name for servable in loaded.servables())
        Image.init()  # loads Pillow's formats before the first request
        try:
            with pillow_pixel_limit(settings.max_pixels):
                backends = [found.backend for found in loaded.servables()]
                engine = Engine(
                    settings,
                    on_cores=any(backend.on_cores for backend in backends),
                    overlaps=all(backend.overlaps for backend in backends),
                )
                app.state.serving = Serving(settings, loaded, engine, metrics.latency, metrics, reading, shared)
                reloader = app.state.reloader = Reloader(settings, app.state, generations)
                reloader.start()
                try:
                    async with _published(app, shared):
                        yield
                finally:
                    await reloader.stop()
                    loaded = app.state.serving.catalogue
                    app.state.serving = None
                    engine.close()
                    reloader.close()
        finally:
            loaded.close()
            if recorder.traces is not None:
                await _sent(recorder.traces)

    return lifespan


async def _sent(traces: Traces) -> None:
    """Send the remaining spans, within TRACES_SECONDS: an unreachable collector would delay the exit by up to 20 s."""
    try:
        await asyncio.wait_for(aside(traces.shutdown), TRACES_SECONDS)
    except TimeoutError:
        logger.warning("the last traces were not sent: the collector did not respond within %g s", TRACES_SECONDS)


@asynccontextmanager
async def _published(app: FastAPI, shared: Shared | None) -> AsyncIterator[None]:
    """Publish the counts of this process every PUBLISH_SECONDS, and once more at the end."""
    if shared is None:
        yield
        return

    async def publish() -> None:
        await asyncio.to_thread(shared.publish, app.state.serving.snapshot())

    async def repeat() -> None:
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            try:
                await publish()
            except OSError as error:  # a full disk; the next attempt may succeed
                logger.warning("the counts of this process cannot be published: %s", error)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await publish()


class PlainStartupFailure:
    """Middleware that reports a StartupError to the ASGI server as its message, without Starlette's traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on everything except the message of a StartupError."""

        async def send_plainly(message: Message) -> None:
            error = sys.exception()  # Starlette sends this message while it handles the exception
            if message["type"] == "lifespan.startup.failed" and isinstance(error, StartupError):
                message = {**message, "message": str(error)}
            await send(message)

        await self.app(scope, receive, send_plainly if scope["type"] == "lifespan" else send)
