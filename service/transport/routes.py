"""Route classes: endpoints called without FastAPI's routing, and refusal of unknown parameters.

FastAPI matches a request with every route, twice, and opens three exit stacks around an endpoint. The busiest endpoints
are called by a middleware instead: FastAPI only documents them, and answers other methods on their paths
(`python -m benchmarks.routes` measures the difference).
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from service.inputs.queries import query_values, read_query
from service.problems.errors import ProblemError
from service.problems.rendering import error_answer, path_of
from service.telemetry.record import record_of

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonAnswer(Response):
    """JSON response of status 200 with pre-encoded headers.

    Args:
        body: JSON.
        headers: further headers; names in lower case.
    """

    def __init__(self, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.status_code = 200
        self.body = body
        self.background = None
        length = b"%d" % len(body)
        self.raw_headers = [(b"content-length", length), (b"content-type", b"application/json"), *headers]


class KnownQueryRoute(APIRoute):
    """FastAPI's route with an error for undocumented query parameters."""

    def get_route_handler(self) -> Handler:
        """Return a handler that checks the names in the query before FastAPI reads it."""
        handle = super().get_route_handler()
        known = [parameter.alias for parameter in self.dependant.query_params]

        async def checked(request: Request) -> Response:
            query_values(request.scope["query_string"], known)
            return await handle(request)

        return checked


class DirectRoute(APIRoute):
    """Route with an endpoint called by `DirectRoutes`: `endpoint(request)` or `endpoint(request, query)`.

    The endpoint returns a Response and raises ProblemErrors. `query` is FastAPI's query parameter model: its fields are
    the documented parameters; `response_model` is the documented response.
    """

    def get_route_handler(self) -> Handler:
        """Return a handler that reads the query, if the endpoint has one, and calls the endpoint."""
        endpoint = self.endpoint
        if "query" not in endpoint.__annotations__:
            return endpoint
        model: type[BaseModel] = endpoint.__annotations__["query"].__origin__

        async def handle(request: Request) -> Response:
            response: Response = await endpoint(request, read_query(request.scope["query_string"], model))
            return response

        return handle


class DirectRoutes:
    """Middleware that calls the endpoints of DirectRoute, and passes other requests on.

    Args:
        app: the next ASGI app.
        routers: routers of the app.
    """

    def __init__(self, app: ASGIApp, routers: Iterable[APIRouter]) -> None:
        self.app = app
        routes = [route for router in routers for route in router.routes if isinstance(route, DirectRoute)]
        handled = [(route, route.get_route_handler()) for route in routes]
        self._methods = frozenset(method for route in routes for method in route.methods or ())
        self._fixed = {found[0].path: found for found in handled if not found[0].param_convertors}
        self._templates = [found for found in handled if found[0].param_convertors]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        found = self._find(scope) if scope["type"] == "http" and scope["method"] in self._methods else None
        if found is None:
            await self.app(scope, receive, send)
            return
        scope["route"], handle = found
        try:
            response = await handle(Request(scope, receive))
        except ProblemError as error:
            record = record_of(scope)
            record.problem = error.name
            response = error_answer(error, path_of(scope), record.request_id)
        await response(scope, receive, send)

    def _find(self, scope: Scope) -> tuple[DirectRoute, Handler] | None:
        """Return the direct route of a request and its handler, and set its path parameters; None for other routes."""
        path = path_of(scope)
        found = self._fixed.get(path)
        if found is None:
            for found in self._templates:
                if (match := found[0].path_regex.match(path)) is not None:
                    scope["path_params"] = match.groupdict()
                    break
            else:
                return None
        return found if scope["method"] in (found[0].methods or ()) else None
