"""The app: `uvicorn --factory service.app:create_app`."""

import os
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI

from service.catalogue.catalogue import Catalogue
from service.inputs.images import reading_of
from service.install import install_access, install_log_context, install_root_path
from service.lifespan import PlainStartupFailure, lifespan_of
from service.problems.handlers import install_handlers
from service.reloading.generations import GenerationMiddleware, Generations
from service.resources.exit import Lifecycle
from service.resources.memory import MemoryBudget
from service.routers import ROUTERS
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.process import process_families
from service.telemetry.tracing import install_tracing
from service.transport.connections import Connections
from service.transport.middleware import RequestMiddleware


def create_app(
    settings: Settings | None = None, catalogue: Catalogue | None = None, connections: Connections | None = None
) -> FastAPI:
    """Return an app that loads its catalogue when it starts.

    Args:
        settings: None reads the environment.
        catalogue: loaded already, from the same settings; the app closes it when it stops.
        connections: for the metrics; None where the server does not count them.

    Raises:
        StartupError: what the settings ask for cannot be had.
    """
    settings = settings if settings is not None else Settings()
    held, generations = MemoryBudget(settings.max_held_bytes), Generations()
    metrics = Metrics(partial(process_families, held, connections))
    reading = reading_of(settings, held.reserve)
    app = FastAPI(
        title="posbake",
        description="Image classification by vision transformers whose position encodings are baked into the graph.",
        version=version("posbake"),
        lifespan=lifespan_of(settings, reading, metrics, generations, catalogue),
        openapi_url=None,  # install_access adds both, rendered once; and /docs says what it may load
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # TraceMiddleware and /metrics say more
        redirect_slashes=False,  # a redirect would lead to whatever host the request names
    )
    app.state.serving = None
    app.state.lifecycle = lifecycle = Lifecycle(settings.drain_seconds)
    app.state.metrics = metrics
    install_handlers(app)
    install_access(app, settings)
    app.add_middleware(RequestMiddleware, metrics=metrics, lifecycle=lifecycle, held=held)
    app.add_middleware(GenerationMiddleware, generations=generations)
    app.add_middleware(PlainStartupFailure)
    install_log_context(app, settings)
    install_tracing(app, os.environ)
    install_root_path(app, settings)
    for router in ROUTERS:
        app.include_router(router)
    return app
