"""The app: `uvicorn --factory service.app:create_app`."""

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from service.catalogue import Catalogue
from service.lifespan import PlainStartupFailure, lifespan_of
from service.middleware import RequestMiddleware
from service.problems import install_problems
from service.routers import ROUTERS
from service.settings import Settings
from service.telemetry.metrics import Metrics


def create_app(settings: Settings | None = None, catalogue: Catalogue | None = None) -> FastAPI:
    """Return an app that loads its catalogue when it starts.

    Args:
        settings: None reads the environment.
        catalogue: loaded already, from the same settings; the app closes it when it stops.
    """
    settings = settings if settings is not None else Settings()
    metrics = Metrics()
    app = FastAPI(
        title="posbake",
        description="Image classification by vision transformers whose position encodings are baked into the graph.",
        version=version("posbake"),
        lifespan=lifespan_of(settings, metrics, catalogue),
    )
    app.state.serving = None
    app.state.metrics = metrics
    install_problems(app)
    app.add_middleware(RequestMiddleware, metrics=metrics)
    app.add_middleware(PlainStartupFailure)
    for router in ROUTERS:
        app.include_router(router)

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app
