"""/v2/models: names of all models; metadata, readiness and configuration of a model."""

from typing import Any

from fastapi import APIRouter

from service.problems.openapi import error_responses
from service.problems.server_errors import NotReadyError
from service.protocol_v2.documents import ModelList, ModelMetadata, ModelReadiness
from service.protocol_v2.metadata import config, metadata
from service.protocol_v2.model_name import Chosen
from service.protocol_v2.routes.addresses import PREFIX, TAGS, on_model
from service.serving import Ready

router = APIRouter(prefix=PREFIX, tags=TAGS)


@router.get("/models", summary="Names of all models", responses=error_responses(503))
async def models(serving: Ready) -> ModelList:
    """The list of KServe's servers. Triton has no such endpoint; its clients use the repository index."""
    return ModelList(models=sorted({servable.key.name for servable in serving.catalogue.servables()}))


@on_model(router, "GET", "", summary="A model's tensors and versions", responses=error_responses(404, 503))
async def model(name: str, serving: Ready, servable: Chosen) -> ModelMetadata:
    """A request has one of the inputs: `image`, or `image_bytes`."""
    return metadata(name, servable, serving.catalogue.versions(servable.key.model, servable.key.variant))


@on_model(router, "GET", "/ready", summary="Readiness of a model", responses=error_responses(404, 503))
async def model_ready(name: str, serving: Ready, servable: Chosen) -> ModelReadiness:
    """503 while its backend is being restarted."""
    if servable in serving.engine.restarting():
        raise NotReadyError(f"{servable.key} is being restarted")
    return ModelReadiness(name=name, ready=True)


@on_model(router, "GET", "/config", summary="A model's configuration", responses=error_responses(404, 503))
async def model_config(name: str, serving: Ready, servable: Chosen) -> dict[str, Any]:
    """Triton's ModelConfig as JSON."""
    return config(name, servable, serving.settings)
