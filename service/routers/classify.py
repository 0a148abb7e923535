"""/v1/classify: one image, one variant, the most probable classes and where the time went."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service.classifying import classify_body
from service.inputs.body import read_body
from service.inputs.forms import SUPPORTED, form_of
from service.middleware import CLASSIFY_PATH
from service.problems import problem_responses
from service.schemas import Classification, ImageDocument, StageTimes
from service.serving import Ready
from service.telemetry.stopwatch import Stopwatch, milliseconds, server_timing

router = APIRouter(tags=["classification"])

_FILE = {"type": "string", "format": "binary"}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **{media_type: {"schema": _FILE} for media_type in SUPPORTED},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"image": _FILE}, "required": ["image"]}
            },
            "application/json": {"schema": ImageDocument.model_json_schema()},
        },
    }
}


@router.post(
    CLASSIFY_PATH,
    summary="Classify one image",
    responses=problem_responses(400, 404, 413, 415, 422, 500, 503),
    openapi_extra=_BODY,
)
async def classify(
    request: Request,
    response: Response,
    serving: Ready,
    model: Annotated[str | None, Query(description="default: the server's default model")] = None,
    variant: Annotated[str | None, Query(description="default: the model's most accurate one")] = None,
    version: Annotated[int | None, Query(ge=1, description="default: the variant's newest")] = None,
    top_k: Annotated[int, Query(ge=1, description="how many classes to return; all, if there are fewer")] = 5,
) -> Classification:
    """The image is the body itself, the multipart field `image`, or base64 in JSON `{"image": …}`.

    JPEG, PNG, WebP, BMP, GIF (its first frame) and TIFF are decoded, turned upright by EXIF, and made RGB.
    """
    servable = serving.catalogue.find(model, variant, version)
    request.state.key = servable.key
    extract = form_of(request.headers.get("content-type"))
    settings = serving.settings
    body = await read_body(request, settings.max_body_bytes)
    watch = Stopwatch()
    predictions = await asyncio.get_running_loop().run_in_executor(
        serving.workers, classify_body, servable, body, extract, top_k, settings.max_pixels, watch
    )
    watch.lap("postprocess")
    laps = watch.laps()
    serving.latency.record(servable.key, laps)
    serving.metrics.observe_stages(servable.key, laps)
    response.headers["Server-Timing"] = server_timing(laps)
    manifest = servable.manifest
    return Classification(
        id=request.state.request_id,
        model=manifest.model,
        variant=manifest.variant,
        encoding=manifest.encoding,
        version=manifest.version,
        predictions=predictions,
        latency_ms=StageTimes(**milliseconds(laps)),
        batch_size=1,
        backend=servable.backend.name,
        precision=manifest.precision,
    )
