"""Inference response: logits as numbers or as the best classes, in JSON or as a binary tensor after it.

Shapes: n images of the request, C classes, k of them requested.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Response
from numpy.typing import NDArray

from service.problems.client_errors import ProtocolError
from service.protocol_v2.datatypes import BYTES, LOGITS, pack_bytes
from service.protocol_v2.documents import InferRequest, Parameters
from service.protocol_v2.envelope import HEADER_LENGTH
from service.protocol_v2.messages import shown

OUTPUT = "logits"


@dataclass(frozen=True)
class OutputForm:
    """Form of the output."""

    classes: int = 0
    """k; 0 for all logits as numbers."""
    binary: bool = False


def output_form(request: InferRequest) -> OutputForm:
    """Return the requested form of the output.

    Raises:
        ProtocolError: another output is requested, or a parameter has an invalid value.
    """
    if not {output.name for output in request.outputs} <= {OUTPUT}:
        names = ", ".join(shown(output.name) for output in request.outputs)
        raise ProtocolError(f"the requested outputs are {names}; this model has {OUTPUT!r}")
    parameters = request.outputs[0].parameters if request.outputs else {}
    if any(output.parameters != parameters for output in request.outputs):
        raise ProtocolError(f"the output {OUTPUT!r} is requested in several forms; request one")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise ProtocolError(f"classification is {shown(classes)}, expected the number of classes, or 0 for the logits")
    by_default = _flag(request.parameters, "binary_data_output", default=False)
    return OutputForm(classes, _flag(parameters, "binary_data", default=by_default))


def classified(logits: NDArray[np.float32], labels: Sequence[str], classes: int) -> list[str]:
    """Return "value:index:label" of the k largest logits of each image, largest first, equal ones in class order.

    Args:
        logits: [n, C].
        labels: C labels.
        classes: k, at least 1; values above C mean C.

    Returns:
        n × min(k, C) strings, with the value in six decimals as in Triton.
    """
    best = np.argsort(-logits, axis=1, kind="stable")[:, :classes]
    return [
        f"{row[index]:f}:{index}:{labels[index]}"
        for row, indices in zip(logits, best.tolist(), strict=True)
        for index in indices
    ]


def answer(
    names: dict[str, Any],
    parameters: Parameters,
    logits: NDArray[np.float32],
    labels: Sequence[str],
    wanted: OutputForm,
) -> Response:
    """Render the response.

    Args:
        names: `model_name`, `model_version`, and `id` if the request had one.
        parameters: parameters of the response.
        logits: [n, C], finite.
        labels: C labels.
        wanted: the requested form.
    """
    output: dict[str, Any] = {"name": OUTPUT, "datatype": LOGITS, "shape": list(logits.shape)}
    strings: list[str] = []
    if wanted.classes:
        strings = classified(logits, labels, wanted.classes)
        output |= {"datatype": BYTES, "shape": [len(logits), len(strings) // len(logits)]}
    binary = b""
    if wanted.binary:
        numbers = logits.astype("<f4", copy=False)
        binary = pack_bytes(map(str.encode, strings)) if wanted.classes else numbers.tobytes()
        output["parameters"] = {"binary_data_size": len(binary)}
    else:
        output["data"] = strings if wanted.classes else logits.ravel().tolist()
    document = {**names, "parameters": parameters, "outputs": [output]}
    header = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    if not wanted.binary:
        return Response(header, media_type="application/json")
    return Response(header + binary, media_type="application/octet-stream", headers={HEADER_LENGTH: str(len(header))})


def _flag(parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise ProtocolError(f"{name} is {shown(value)}, expected true or false")
    return value
