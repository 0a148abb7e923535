"""/v2/models/{name}/infer: the logits, or the best classes, of one request's images."""

from typing import Any

from fastapi import APIRouter, Request, Response

from imaging.preprocess import Tensor
from service.catalogue.catalogue import Servable
from service.inputs.body import read_body
from service.inputs.encodings import Expand, expander
from service.problems.client_errors import ProtocolError
from service.problems.openapi import error_responses
from service.protocol_v2.documents import InferRequest, InferResponse
from service.protocol_v2.envelope import HEADER_LENGTH
from service.protocol_v2.inputs import read_rows
from service.protocol_v2.model_name import Chosen, find
from service.protocol_v2.request import ParsedRequest, is_heavy, parse, timeout_ms, variant_of
from service.protocol_v2.response import answer, output_form
from service.protocol_v2.routes.addresses import PREFIX, TAGS, inlined_schema, on_model
from service.protocol_v2.rows import ImageRows, RowLimits
from service.scheduling.engine import Engine
from service.scheduling.request_scope import RequestScope
from service.scheduling.variant_queue import Inferred
from service.serving import Ready, Serving
from service.telemetry.stopwatch import Stopwatch, server_timing

router = APIRouter(prefix=PREFIX, tags=TAGS)

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
    "description": "bytes of JSON before the binary tensors; 0 for a body that is the tensor or an image file itself",
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
async def infer(request: Request, serving: Ready, servable: Chosen) -> Response:
    """In JSON, or with binary tensors after it; with the parameter `binary_data` the output is binary too."""
    request.state.key = servable.key
    expand = expander(request, serving.settings.max_body_bytes)
    body = await read_body(request, serving.settings.max_body_bytes)
    watch = Stopwatch()
    asked = await _asked(request, serving, body, expand, watch)
    path = request.path_params
    servable = find(serving.catalogue, path["name"], path.get("version"), variant_of(asked.request))
    request.state.key = servable.key
    request.state.watches = [(servable.key, watch)]
    return await _answer(request, serving, servable, asked, watch)


async def _asked(
    request: Request, serving: Serving, body: bytes, expand: Expand | None, watch: Stopwatch
) -> ParsedRequest:
    """Expand and parse the body, on a decoding thread if that takes long."""
    headers = request.headers
    if not is_heavy(body, headers):
        asked = parse(body, headers)
    else:

        def work() -> ParsedRequest:
            watch.lap("queue")
            return parse(body if expand is None else expand(body), headers)

        with RequestScope(serving.settings.timeout_ms) as scope:
            asked = await serving.engine.offload(work, scope)
    watch.lap("decode")
    return asked


async def _answer(
    request: Request, serving: Serving, servable: Servable, asked: ParsedRequest, watch: Stopwatch
) -> Response:
    settings = serving.settings
    wanted = output_form(asked.request)
    if wanted.classes and servable.manifest.task == "regression":
        raise ProtocolError(f"classification is for models with classes; {servable.key} is a regression: leave it out")
    limits = RowLimits(servable.largest_batch(settings.max_images), serving.reading)
    rows = read_rows(asked, servable, limits)
    with RequestScope(timeout_ms(asked.request) or settings.timeout_ms, watch.elapsed() / 1000) as scope:
        scope.watch(request.receive)
        inferred = await _inferred(serving.engine, servable, rows, scope, watch)
    key = servable.key
    names = {"model_name": request.path_params["name"], "model_version": str(key.version)}
    if asked.request.id:
        names["id"] = asked.request.id
    parameters = {"variant": key.variant, "batch_size": inferred.batch_size}
    response = answer(names, parameters, inferred.logits, servable.artifact.labels, wanted)
    watch.lap("postprocess")
    laps = watch.laps()
    serving.latency.record(key, laps)
    serving.metrics.statistics.succeeded(key, laps, rows.count, inferred.batch_size)
    response.headers["Server-Timing"] = server_timing(laps)
    return response


async def _inferred(
    engine: Engine, servable: Servable, rows: ImageRows, scope: RequestScope, watch: Stopwatch
) -> Inferred:
    make = rows.make
    if make is None:
        assert rows.tensor is not None
        return await engine.infer(servable, rows.tensor, scope, watch)
    if rows.count == 1:
        return await engine.infer(servable, lambda: make(watch), scope, watch)

    def work() -> Tensor:
        watch.lap("queue")
        return make(watch)

    return await engine.infer(servable, await engine.offload(work, scope), scope, watch)
