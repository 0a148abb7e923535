"""Metadata of a model, and its Triton model configuration (model_config.proto)."""

from typing import Any

from service.catalogue.catalogue import Servable
from service.protocol_v2.datatypes import BYTES, LOGITS, datatype_of
from service.protocol_v2.documents import ModelMetadata, TensorMetadata
from service.protocol_v2.encoded_images import IMAGE_BYTES
from service.protocol_v2.response import OUTPUT
from service.protocol_v2.tensors import IMAGE, row_shape
from service.settings import Settings

ANY = -1


def metadata(name: str, servable: Servable, versions: list[Servable]) -> ModelMetadata:
    """Return a model's metadata.

    Args:
        name: name in the request.
        servable: the version that provides the tensors.
        versions: all versions of the variant, oldest first.
    """
    manifest = servable.manifest
    return ModelMetadata(
        name=name,
        versions=[str(version.key.version) for version in versions],
        platform=servable.backend.name,
        inputs=[
            TensorMetadata(name=IMAGE, datatype=datatype_of(manifest.input), shape=[ANY, *row_shape(manifest)]),
            TensorMetadata(name=IMAGE_BYTES, datatype=BYTES, shape=[ANY, 1]),
        ],
        outputs=[TensorMetadata(name=OUTPUT, datatype=LOGITS, shape=[ANY, manifest.output.classes])],
    )


def config(name: str, servable: Servable, settings: Settings) -> dict[str, Any]:
    """Return a model's configuration, in the JSON form of Triton's ModelConfig; dims are without the batch."""
    manifest = servable.manifest
    image = manifest.input
    largest = servable.largest_batch(settings.max_images)
    return {
        "name": name,
        "platform": servable.backend.name,
        "backend": servable.backend.name.partition("-")[0],
        "max_batch_size": largest,
        "input": [
            {
                "name": IMAGE,
                "data_type": f"TYPE_{datatype_of(image)}",
                "format": f"FORMAT_{image.layout}",
                "dims": list(row_shape(manifest)),
                "optional": True,
            },
            {"name": IMAGE_BYTES, "data_type": "TYPE_STRING", "dims": [1], "optional": True},
        ],
        "output": [
            {
                "name": OUTPUT,
                "data_type": f"TYPE_{LOGITS}",
                "dims": [manifest.output.classes],
                "label_filename": manifest.labels,
            }
        ],
        "parameters": {
            "task": {"string_value": manifest.task},
            "activation": {"string_value": manifest.output.activation},
        },
        "dynamic_batching": {
            "preferred_batch_size": [largest],
            "max_queue_delay_microseconds": round(1000 * settings.batch_delay_ms),
            "default_queue_policy": {
                "timeout_action": "REJECT",
                "default_timeout_microseconds": 1000 * settings.timeout_ms,
                "allow_timeout_override": True,
                "max_queue_size": settings.max_queue,
            },
        },
    }
