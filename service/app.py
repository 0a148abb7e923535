"""FastAPI app: `uvicorn --factory service.app:create_app`."""

import os
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from service.auth.gate import Gate
from service.auth.keyring import Keyring
from service.auth.openapi import document_keys
from service.auth.rate_limit import RateLimit, RateLimiter
from service.catalogue.catalogue import Catalogue
from service.inputs.images import reading_of
from service.lifespan import PlainStartupFailure, lifespan_of
from service.problems.errors import AccessSettingError, ProcessesError
from service.problems.handlers import install_handlers
from service.processes.shared import Shared
from service.reloading.generations import GenerationMiddleware, Generations
from service.resources.memory import MemoryBudget
from service.routers import ROUTERS
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.process import process_families
from service.telemetry.record import record_of
from service.telemetry.recorder import Recorder
from service.telemetry.tracing import traces_of
from service.transport.connections import Connections
from service.transport.cors import Origins
from service.transport.draining import Lifecycle
from service.transport.heads import HeadMiddleware
from service.transport.log_writer import dropped_lines
from service.transport.logs import LogContext
from service.transport.middleware import RequestMiddleware
from service.transport.pages import add_document
from service.transport.prefixes import Prefixes, RootPathMiddleware
from service.transport.routes import DirectRoutes
from service.web.files import add_page


def create_app(
    settings: Settings | None = None,
    catalogue: Catalogue | None = None,
    connections: Connections | None = None,
    shared: Shared | None = None,
) -> FastAPI:
    """Create an app that loads its catalogue at start-up.

    Args:
        settings: None reads the environment.
        catalogue: already loaded from the same settings; the app closes it at shutdown.
        connections: connection counts for the metrics; None if the server does not count them.
        shared: state shared with other processes of this service, provided by `python -m service`.

    Raises:
        StartupError: a setting is unknown, contradicts another, or requires something that is not available.
    """
    settings = settings if settings is not None else Settings()
    if settings.processes > 1 and shared is None:
        raise ProcessesError("PROCESSES needs `python -m service`; unset it")
    memory = MemoryBudget(settings.max_held_bytes)
    generations = Generations()
    lifecycle = Lifecycle(settings.drain_seconds)
    metrics = Metrics(partial(process_families, memory, partial(_refused, connections), dropped_lines))
    recorder = Recorder(metrics, traces_of(os.environ))
    reading = reading_of(settings, memory.reserve)
    prefixes = Prefixes.of(settings)
    app = _App(
        title="posbake",
        description="Image classification by vision transformers whose position encodings are baked into the graph.",
        version=version("posbake"),
        lifespan=lifespan_of(settings, reading, recorder, generations, catalogue, shared),
        middleware=[  # outermost first
            *_root_path(prefixes),  # all others see paths without ROOT_PATH
            *_log_context(settings),
            Middleware(PlainStartupFailure),
            Middleware(GenerationMiddleware, generations=generations),
            Middleware(RequestMiddleware, recorder=recorder, lifecycle=lifecycle, memory=memory),
            *_cors(settings),  # outside the gate: a browser's preflight request has no key
            *_gate(settings),
            Middleware(DirectRoutes, routers=ROUTERS),  # the busiest routes; the following middleware is for the others
            Middleware(HeadMiddleware),
        ],
        openapi_url=None,  # add_document adds it, rendered once; add_page adds /docs
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # replaced by Recorder and /metrics
        redirect_slashes=False,  # a redirect would use the host that the request names
    )
    app.state.serving = None
    app.state.lifecycle = lifecycle
    app.state.metrics = metrics
    app.state.recorder = recorder
    install_handlers(app, record_of)
    add_document(app, prefixes)
    add_page(app)
    if settings.api_keys_file is not None:
        document_keys(app)
    for router in ROUTERS:
        app.include_router(router)
    return app


class _App(FastAPI):
    """FastAPI without middleware outside the list."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, without FastAPI's own telemetry and root path, which are disabled."""
        if scope["type"] == "http" and self.middleware_stack is not None:
            scope["app"] = self
            await self.middleware_stack(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Return FastAPI's stack, starting at the first listed middleware.

        FastAPI's outer middleware handles unexpected errors, as RequestMiddleware does, and has telemetry and a limit
        of bodies, which are disabled.
        """
        outermost: Any = self.user_middleware[0].cls
        layer: Any = super().build_middleware_stack()
        while not isinstance(layer, outermost):
            layer = layer.app
        stack: ASGIApp = layer
        return stack


def _root_path(prefixes: Prefixes) -> list[Middleware]:
    return [Middleware(RootPathMiddleware, root_path=prefixes.own)] if prefixes.own else []


def _log_context(settings: Settings) -> list[Middleware]:
    """Return the middleware that adds request ids and key names to the log, for JSON and if keys are required."""
    return [Middleware(LogContext)] if settings.log_format != "text" or settings.api_keys_file is not None else []


def _cors(settings: Settings) -> list[Middleware]:
    if settings.cors_origins is None:
        return []
    return [Middleware(CORSMiddleware, **Origins.parse(settings.cors_origins).options())]


def _gate(settings: Settings) -> list[Middleware]:
    if settings.api_keys_file is not None:
        default = None if settings.rate_limit is None else RateLimit.of(settings.rate_limit)
        return [Middleware(Gate, keyring=Keyring(settings.api_keys_file), limits=RateLimiter(default))]
    if settings.rate_limit is not None:
        raise AccessSettingError("RATE_LIMIT applies to API keys, and there are none; set API_KEYS_FILE too")
    return []


def _refused(connections: Connections | None) -> int:
    return 0 if connections is None else connections.refused
