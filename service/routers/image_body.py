"""How OpenAPI documents a body that holds one image, in any of its forms."""

from typing import Any

from service.inputs.forms import SUPPORTED
from service.schemas import ImageDocument

_FILE = {"type": "string", "format": "binary"}

IMAGE_BODY: dict[str, Any] = {
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
