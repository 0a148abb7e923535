"""Routes that FastAPI documents but does not run: what is asked most skips its dependencies and response models."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

Q = TypeVar("Q", bound=BaseModel)


class LeanRoute(APIRoute):
    """Calls `endpoint(request, query)`, which returns a Response; `query` is FastAPI's query parameter model.

    The model's fields are the documented parameters, and `response_model` the documented answer.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what reads the query and calls the endpoint."""
        endpoint = self.endpoint
        model: type[BaseModel] = endpoint.__annotations__["query"].__origin__

        async def handle(request: Request) -> Response:
            response: Response = await endpoint(request, read_query(request, model))
            return response

        return handle


def read_query(request: Request, model: type[Q]) -> Q:
    """Return the query string as a model; of a name given twice, the last.

    Raises:
        RequestValidationError: a parameter has a value that is not allowed.
    """
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    try:
        return model.model_validate(dict(pairs))
    except ValidationError as error:
        problems = [{**problem, "loc": ("query", *problem["loc"])} for problem in error.errors(include_url=False)]
        raise RequestValidationError(problems) from error
