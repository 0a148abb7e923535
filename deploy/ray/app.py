"""The service on Ray Serve: `serve run deploy/ray/serve.yaml`, or `serve.run(app({"repository": "artifacts"}))`.

Each replica is a complete service with its own backends, queues and deadlines; Ray's proxy distributes requests.
"""

import os
from typing import Any

from fastapi import FastAPI
from ray import serve

from service.app import create_app
from service.problems.errors import ServiceError
from service.settings import Settings


def app(arguments: dict[str, Any]) -> serve.Application:
    """Return the application.

    Args:
        arguments: settings by name (`repository`, `threads`, …), from `args` of a serve config file; other settings
            come from the environment.

    Raises:
        pydantic.ValidationError: a setting is unknown or invalid.
    """
    unknown = arguments.keys() - Settings.model_fields.keys()
    if unknown:
        raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}; see docs/operations.md")
    settings = Settings(**arguments)
    # Above this limit, requests would wait in the proxy without deadlines or 429 responses.
    most = settings.max_decode_queue + settings.max_queue + settings.threads
    built: list[FastAPI] = []

    def build() -> FastAPI:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        built.append(create_app(settings))
        return built[-1]

    class Posbake:
        """Replica of the service."""

        async def check_health(self) -> None:
            """Raise if Ray must replace this replica, because a device is lost or too many threads hang.

            The check passes while a backend restarts, because a new replica would take longer.
            """
            serving = built[-1].state.serving if built else None
            if serving is None:
                return
            reasons = [serving.engine.shortage(), *serving.engine.device_failures()]
            if any(reasons):
                raise ServiceError("; ".join(filter(None, reasons)))

    # Calls instead of decorators: type checkers do not change the type of a decorated class.
    deploy = serve.deployment(name="posbake", num_replicas=2, max_ongoing_requests=most)
    application: serve.Application = deploy(serve.ingress(build)(Posbake)).bind()
    return application
