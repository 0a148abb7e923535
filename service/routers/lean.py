"""Route classes that refuse unknown parameters and parameters with two values, in the query and in the body.

The busiest routes skip FastAPI's dependencies and response models, which are documented only: a request takes 0.1 ms of
CPU time less (`python -m benchmarks.routes`).
"""

from collections.abc import Callable, Collection, Coroutine
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from service.inputs.parameter_names import given_twice, unknown_name

Q = TypeVar("Q", bound=BaseModel)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class KnownQueryRoute(APIRoute):
    """FastAPI's own route; a query parameter that it does not document is an error."""

    def get_route_handler(self) -> Handler:
        """Return a handler that checks the query's names before FastAPI reads it."""
        handle = super().get_route_handler()
        known = [parameter.alias for parameter in self.dependant.query_params]

        async def checked(request: Request) -> Response:
            query_values(request, known)
            return await handle(request)

        return checked


class LeanRoute(APIRoute):
    """Calls `endpoint(request, query)`, which returns a Response; `query` is FastAPI's query parameter model.

    The model's fields are the documented parameters, and `response_model` the documented answer.
    """

    def get_route_handler(self) -> Handler:
        """Return a handler that reads the query and calls the endpoint."""
        endpoint = self.endpoint
        model: type[BaseModel] = endpoint.__annotations__["query"].__origin__
        nothing = model()

        async def handle(request: Request) -> Response:
            query = read_query(request, model) if request.scope["query_string"] else nothing
            response: Response = await endpoint(request, query)
            return response

        return handle


def query_values(request: Request, known: Collection[str]) -> dict[str, str]:
    """Return the query's values by name.

    Raises:
        InvalidParameterError: a name is not known, or has two values.
    """
    values: dict[str, str] = {}
    for name, value in parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if name not in known:
            raise unknown_name("query parameter", name, known)
        if values.setdefault(name, value) != value:
            raise given_twice(name, values[name], value)
    return values


def read_query(request: Request, model: type[Q]) -> Q:
    """Return the query string as a model.

    Raises:
        InvalidParameterError: a name is not known, or has two values.
        RequestValidationError: a parameter has a value that is not allowed.
    """
    return _validated(model, query_values(request, model.model_fields), "query")


def with_body(query: Q, parameters: dict[str, str]) -> Q:
    """Return the parameters of the query and those that came in the body.

    Raises:
        InvalidParameterError: both have one, with different values.
        RequestValidationError: a parameter has a value that is not allowed.
    """
    if not parameters:
        return query
    found = _validated(type(query), parameters, "body")
    for name in query.model_fields_set & found.model_fields_set:
        if getattr(query, name) != getattr(found, name):
            raise given_twice(name, f"{getattr(query, name)} in the query", f"{getattr(found, name)} in the body")
    return query.model_copy(update=found.model_dump(exclude_unset=True))


def _validated(model: type[Q], values: dict[str, str], place: str) -> Q:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = [{**problem, "loc": (place, *problem["loc"])} for problem in error.errors(include_url=False)]
        raise RequestValidationError(problems) from error
