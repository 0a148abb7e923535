"""Configurations of the three models of each variant: network, preprocessing of images, and ensemble of both.

Source: Triton's model_config.proto. `dims` omits the batch if it is dynamic.
"""

from collections.abc import Sequence

from export.triton_repository.backends import KINDS, Plan, row_shape
from export.triton_repository.networks import Network
from export.triton_repository.pbtxt import Fields, Symbol, entries
from export.triton_repository.request import TritonRequest

IMAGE, IMAGE_BYTES, LOGITS = "image", "image_bytes", "logits"
LABELS_FILE = "labels.txt"
WARMUP_FILE = "image_bytes"
"""File with a binary tensor, in the folder `warmup` of the preprocessing model."""

_TYPES = {"uint8": Symbol("TYPE_UINT8"), "float32": Symbol("TYPE_FP32")}
_STRING = Symbol("TYPE_STRING")
_IMAGE_BYTES: Fields = {"name": IMAGE_BYTES, "data_type": _STRING, "dims": [1]}
"""Encoded image files: [n, 1] with a batch axis, [1] without."""


def network_config(network: Network, plan: Plan, request: TritonRequest) -> Fields:
    """Return the configuration of a network: all versions are loaded, requests batched, and batch sizes warmed up."""
    accelerators = {} if plan.accelerator is None else {"execution_accelerators": plan.accelerator.fields(network)}
    return {
        "name": network.name,
        **plan.backend.fields,
        "max_batch_size": _max_batch(network),
        "version_policy": {"all": {}},
        "input": [_image(network)],
        "output": [_logits(network)],
        "instance_group": [{"kind": KINDS[plan.device], "count": request.instances}],
        **(_batching(request, plan.backend.preferred_batches(network)) if network.dynamic else {}),
        **({"optimization": accelerators} if accelerators else {}),
        "parameters": entries(
            {
                "task": {"string_value": network.manifest.task},
                "activation": {"string_value": network.manifest.output.activation},
            }
        ),
        "model_warmup": _warmups(network),
    }


def pixels_config(networks: Sequence[Network], request: TritonRequest) -> Fields:
    """Return the configuration of the Python model that preprocesses images, without dynamic batching."""
    first = networks[0]
    return {
        "name": first.pixels_name,
        "backend": "python",
        "max_batch_size": max(map(_max_batch, networks)),
        "input": [_IMAGE_BYTES],
        "output": [_image(first, as_output=True)],
        "instance_group": [{"kind": KINDS["cpu"], "count": request.decoders}],
        "parameters": entries(
            {
                "resizer": {"string_value": request.resizer},
                "max_pixels": {"string_value": str(request.max_pixels)},
            }
        ),
        "model_warmup": [
            {
                "name": "one image",
                **({"batch_size": 1} if first.dynamic else {}),
                "inputs": entries({IMAGE_BYTES: {"data_type": _STRING, "dims": [1], "input_data_file": WARMUP_FILE}}),
            }
        ],
    }


def ensemble_config(network: Network) -> Fields:
    """Return the configuration of the ensemble, from encoded images to logits of the newest version."""
    prepare: Fields = {
        "model_name": network.pixels_name,
        "model_version": 1,
        "input_map": entries({IMAGE_BYTES: IMAGE_BYTES}),
        "output_map": entries({IMAGE: IMAGE}),
    }
    run: Fields = {
        "model_name": network.name,
        "model_version": network.manifest.version,
        "input_map": entries({IMAGE: IMAGE}),
        "output_map": entries({LOGITS: LOGITS}),
    }
    return {
        "name": network.image_name,
        "platform": "ensemble",
        "max_batch_size": _max_batch(network),
        "input": [_IMAGE_BYTES],
        "output": [_logits(network)],
        "ensemble_scheduling": {"step": [prepare, run]},
    }


def _max_batch(network: Network) -> int:
    """Return `max_batch_size`, which is 0 if the graph's batch is not dynamic."""
    return network.max_batch if network.dynamic else 0


def _dims(network: Network, *row: int) -> list[int]:
    return [*row] if network.dynamic else [1, *row]


def _image(network: Network, *, as_output: bool = False) -> Fields:
    image = network.manifest.input
    # Triton requires three axes for the `format` of an input without a batch; outputs have no `format`.
    layout = {"format": Symbol(f"FORMAT_{image.layout}")} if network.dynamic and not as_output else {}
    return {
        "name": IMAGE,
        "data_type": _TYPES[image.dtype],
        **layout,
        "dims": _dims(network, *row_shape(network.manifest)),
    }


def _logits(network: Network) -> Fields:
    output = network.manifest.output
    # The outputs of a regression are not classes.
    labels = {} if network.manifest.task == "regression" else {"label_filename": LABELS_FILE}
    return {"name": LOGITS, "data_type": _TYPES[output.dtype], "dims": _dims(network, output.classes), **labels}


def _batching(request: TritonRequest, preferred: list[int]) -> Fields:
    return {
        "dynamic_batching": {
            **({"preferred_batch_size": preferred} if preferred else {}),
            "max_queue_delay_microseconds": round(1000 * request.batch_delay_ms),
            "default_queue_policy": {
                "timeout_action": Symbol("REJECT"),
                "default_timeout_microseconds": 1000 * request.timeout_ms,
                "allow_timeout_override": True,
                "max_queue_size": request.max_queue,
            },
        }
    }


def _warmups(network: Network) -> list[Fields]:
    """Return warm-ups at batch 1 and at the largest batch size."""
    dims = _dims(network, *row_shape(network.manifest))
    zeros: Fields = {"data_type": _TYPES[network.manifest.input.dtype], "dims": dims, "zero_data": True}
    sizes = sorted({1, network.max_batch}) if network.dynamic else [0]
    return [
        {
            "name": f"batch of {size}" if size else "one image",
            "batch_size": size,
            "inputs": entries({IMAGE: zeros}),
        }
        for size in sizes
    ]
