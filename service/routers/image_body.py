"""Bodies with one image: reading, and description in OpenAPI."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.inputs.body import read_body
from service.inputs.encodings import expander
from service.inputs.forms import IMAGE, SUPPORTED, Upload, form_of, raw
from service.inputs.headers import header
from service.inputs.json_text import LARGE
from service.inputs.queries import check_integer, check_number, with_body
from service.scheduling.request_scope import RequestScope
from service.serving import Serving
from service.telemetry.stopwatch import Stopwatch

_FILE = {"type": "string", "format": "binary"}
_BASE64 = {"type": "string", "description": "the image file in base64 or base64url, or as a data URI"}


class ImageQuery(BaseModel):
    """Parameters of every request with an image."""

    model_config = ConfigDict(frozen=True)

    model: str | None = Field(default=None, description="default: the server's default model")
    top_k: int = Field(
        default=5, ge=1, description="maximum number of classes to return; a regression returns all values"
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="for multi-label models: minimum probability of the classes to return; default: 0.5",
    )
    timeout_ms: int | None = Field(
        default=None,
        ge=1,
        le=86_400_000,
        description="deadline of the request in ms; default: the server's TIMEOUT_MS",
    )

    _integers = field_validator("top_k", "timeout_ms", "version", mode="before", check_fields=False)(check_integer)
    _numbers = field_validator("threshold", mode="before")(check_number)


Q = TypeVar("Q", bound=ImageQuery)
C = TypeVar("C")


def image_body(query: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI description of a body with an image and any of the parameters of a query."""
    parameters = query.model_json_schema()["properties"]

    def object_with(image: dict[str, str]) -> dict[str, Any]:
        return {
            "schema": {
                "type": "object",
                "properties": {IMAGE: image, **parameters},
                "required": [IMAGE],
                "additionalProperties": False,
            }
        }

    content = {
        **{media_type: {"schema": _FILE} for media_type in SUPPORTED},
        "multipart/form-data": object_with(_FILE),
        "application/json": object_with(_BASE64),
    }
    return {"requestBody": {"required": True, "content": content}}


@dataclass(frozen=True)
class Received(Generic[Q, C]):
    """Request with an image, after its body was read."""

    query: Q
    """Parameters of the query and the body."""
    chosen: C
    """Result of `choose`."""
    upload: Upload
    watch: Stopwatch
    """Started when the body was complete."""
    scope: RequestScope
    """Not entered yet; its deadline counts from before the body was read."""


async def receive(request: Request, serving: Serving, query: Q, choose: Callable[[Q], C]) -> Received[Q, C]:
    """Read a body and the parameters in it; a large or compressed form is parsed on a decoding thread.

    Args:
        request: the request.
        serving: limits of the body, and decoding threads.
        query: parameters of the query, including `timeout_ms`.
        choose: selects the version from the parameters. For a body that is an image file, without parameters, it is
            called before the body is read, so an unknown name is answered immediately.

    Raises:
        UnsupportedContentTypeError, InvalidBodyError, InvalidParameterError: the body is invalid.
        UnsupportedEncodingError: as `expander`; for a form, WrongEncodingError as `expand`.
        BodyTooLargeError, IncompleteBodyError, MemoryFullError, TooLargeToHoldError: as `read_body`.
        QueueFullError, DeadlineError: as `Engine.offload`.
    """
    arrived = Stopwatch()

    limit = serving.settings.max_body_bytes
    expand = expander(request, limit)
    form = form_of(header(request.scope, b"content-type"))
    if form is None:
        chosen = choose(query)
        upload = Upload(await read_body(request, limit), expand or raw)
        return Received(query, chosen, upload, Stopwatch(), _scope(request, serving, query, arrived))
    body = await read_body(request, limit)
    watch = Stopwatch()
    known = list(type(query).model_fields)
    if len(body) <= LARGE and expand is None:
        upload = form(body, known)
    else:

        def work() -> Upload:
            watch.lap("queue")
            return form(body if expand is None else expand(body), known)

        with RequestScope(_timeout_ms(serving, query), arrived.elapsed() / 1000) as scope:
            upload = await serving.engine.offload(work, scope)
    watch.lap("decode")
    query = with_body(query, upload.parameters)
    return Received(query, choose(query), upload, watch, _scope(request, serving, query, arrived))


def _scope(request: Request, serving: Serving, query: ImageQuery, arrived: Stopwatch) -> RequestScope:
    return RequestScope(_timeout_ms(serving, query), arrived.elapsed() / 1000, request.receive)


def _timeout_ms(serving: Serving, query: ImageQuery) -> int:
    return query.timeout_ms or serving.settings.timeout_ms
