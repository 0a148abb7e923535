"""/v2/models/{name}/infer: logits or best classes of a request's images."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from service.catalogue.catalogue import Servable
from service.inference import infer as run
from service.inputs.body import read_body
from service.inputs.encodings import Expand, expander
from service.problems.client_errors import ProtocolError
from service.problems.openapi import error_responses
from service.protocol_v2.documents import InferRequest, InferResponse
from service.protocol_v2.envelope import HEADER_LENGTH
from service.protocol_v2.inputs import read_rows
from service.protocol_v2.model_name import requested
from service.protocol_v2.request import ParsedRequest, is_heavy, parse, timeout_ms, variant_of
from service.protocol_v2.response import OutputForm, answer, output_form
from service.protocol_v2.routes.addresses import PREFIX, TAGS, inlined_schema, on_model
from service.protocol_v2.row_limits import RowLimits
from service.scheduling.request_scope import RequestScope
from service.scheduling.variant_queue import Inferred
from service.serving import Serving, serving_of
from service.telemetry.record import record_of
from service.telemetry.stopwatch import Stopwatch, milliseconds, server_timing
from service.transport.routes import DirectRoute

router = APIRouter(prefix=PREFIX, tags=TAGS, route_class=DirectRoute)

_FILE = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": inlined_schema(InferRequest)},
            "application/octet-stream": _FILE,
            "image/*": _FILE,
        },
    }
}
_HEADER = {
    "name": HEADER_LENGTH,
    "in": "header",
    "description": "size of the JSON before the binary tensors, in bytes; 0 for a body without JSON",
    "schema": {"type": "integer", "minimum": 0},
}

_ERRORS = (400, 404, 413, 415, 429, 500, 503, 504)


@on_model(
    router,
    "POST",
    "/infer",
    _BODY,
    [_HEADER],
    summary="Run a model",
    response_model=InferResponse,
    responses={200: {"content": {"application/octet-stream": _FILE}}, **error_responses(*_ERRORS)},
)
async def infer(request: Request) -> Response:
    """The input is JSON, optionally followed by binary tensors; the parameter `binary_data` makes the output binary."""
    serving = serving_of(request.app.state)
    requested(request, serving)  # before the body is read, so an unknown name is answered immediately
    settings = serving.settings
    expand = expander(request, settings.max_body_bytes)
    body = await read_body(request, settings.max_body_bytes)
    watch = Stopwatch()
    parsed = await _parsed(request, serving, body, expand, watch)
    servable = requested(request, serving, variant_of(parsed.request))
    form = output_form(parsed.request)
    if form.classes and servable.manifest.task == "regression":
        raise ProtocolError(f"classification is for models with classes; {servable.key} is a regression: leave it out")
    images = read_rows(parsed, servable, RowLimits(servable.largest_batch(settings.max_images), serving.reading))
    waited_ms = watch.elapsed() / 1000
    scope = RequestScope(timeout_ms(parsed.request) or settings.timeout_ms, waited_ms, request.receive)
    completed = await run(
        *(serving, record_of(request.scope), servable, images, scope, watch),
        partial(_answer, request.path_params["name"], parsed.request.id, servable, form),
    )
    response = completed.result
    response.headers["Server-Timing"] = server_timing(milliseconds(completed.laps))
    return response


async def _parsed(
    request: Request, serving: Serving, body: bytes, expand: Expand | None, watch: Stopwatch
) -> ParsedRequest:
    """Expand and parse the body, on a decoding thread if it is large or compressed."""
    headers = request.headers
    if not is_heavy(body, headers):
        parsed = parse(body, headers)
    else:

        def work() -> ParsedRequest:
            watch.lap("queue")
            return parse(body if expand is None else expand(body), headers)

        with RequestScope(serving.settings.timeout_ms) as scope:
            parsed = await serving.engine.offload(work, scope)
    watch.lap("decode")
    return parsed


def _answer(name: str, request_id: str, servable: Servable, form: OutputForm, inferred: Inferred) -> Response:
    key = servable.key
    names = {"model_name": name, "model_version": str(key.version)}
    if request_id:
        names["id"] = request_id
    parameters = {"variant": key.variant, "batch_size": inferred.batch_size}
    return answer(names, parameters, inferred.logits, servable.artifact.labels, form)
