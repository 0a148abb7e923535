"""Parser for TensorRT's textual descriptions of the layers of an engine.

TensorRT's engine inspector and the log of the builder have a line for each layer:

    Name: _gemm_mha_v2_myl0_8, LayerType: kgen, Inputs: [ { Name: …, Dimensions: [-1,16,16], …, Datatype: Half, … } ],
    Constants: [ … ], Outputs: [ … ], TacticName: …
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import prod
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_LAYER = re.compile(r"^Name: (?P<name>.+?), LayerType: (?P<kind>[^,]+), (?P<rest>.*)$", re.MULTILINE)
_TENSOR = re.compile(r"Dimensions: \[(?P<shape>[^\]]*)\].*?(?:Datatype|Format/Datatype): (?P<dtype>[A-Za-z0-9_]+)")
_TACTIC = re.compile(r"TacticName: ([^,]*)")
_PRECISIONS = {
    "Float": "fp32", "FP32": "fp32", "Half": "fp16", "FP16": "fp16", "BFloat16": "bf16", "BF16": "bf16", "Int8": "int8",
    "FP8": "fp8", "Int32": "int32", "Int64": "int64", "Bool": "bool", "UInt8": "uint8",
}  # fmt: skip
_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1, "int32": 4, "int64": 8, "bool": 1, "uint8": 1}


class Layer(BaseModel):
    """Layer of an engine.

    Attributes:
        name: TensorRT's name.
        kind: TensorRT's layer type.
        precision: precision of the first output, or TensorRT's name of another type; empty if unknown.
        attention: True for a fused attention kernel.
        constant_bytes: total size of the layer's constants in bytes.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    precision: str
    attention: bool
    constant_bytes: Annotated[int, Field(ge=0)]


class Summary(BaseModel):
    """Counts of an engine's layers.

    Attributes:
        layers: number of layers.
        attention: number of fused attention kernels.
        precisions: number of layers by precision.
        constant_bytes: total size of the constants in bytes; a constant of two layers counts twice.
    """

    model_config = ConfigDict(frozen=True)

    layers: int
    attention: int
    precisions: dict[str, int]
    constant_bytes: int


def read_layers(text: str) -> tuple[Layer, ...]:
    """Return the layers described in a text, in order; other lines are skipped."""
    return tuple(_layer(found) for found in _LAYER.finditer(text))


def summarise(layers: Sequence[Layer]) -> Summary:
    """Return the counts of layers."""
    return Summary(
        layers=len(layers),
        attention=sum(layer.attention for layer in layers),
        precisions=dict(Counter(layer.precision for layer in layers).most_common()),
        constant_bytes=sum(layer.constant_bytes for layer in layers),
    )


def operators_of(layers: Sequence[Layer]) -> dict[str, dict[str, int]]:
    """Return the number of layers by kind and precision; fused attention kernels are a separate kind."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for layer in layers:
        found["fused attention" if layer.attention else layer.kind][layer.precision] += 1
    return {kind: dict(precisions) for kind, precisions in sorted(found.items())}


def _layer(found: re.Match[str]) -> Layer:
    name, kind, rest = found["name"], found["kind"], found["rest"]
    before, _, outputs = rest.partition("Outputs: [")
    constants = before.partition("Constants: [")[2]
    made = [dtype for _, dtype in _tensors(outputs)]
    tactic = _TACTIC.search(outputs)
    called = f"{name} {tactic[1] if tactic else ''}"
    return Layer(
        name=name,
        kind=kind,
        precision=made[0] if made else "",
        attention="mha" in called or "attention" in kind.lower(),
        constant_bytes=sum(prod(shape) * _BYTES.get(dtype, 0) for shape, dtype in _tensors(constants)),
    )


def _tensors(text: str) -> Iterable[tuple[tuple[int, ...], str]]:
    for found in _TENSOR.finditer(text):
        sizes = tuple(int(size) for size in found["shape"].split(",") if size.strip())
        yield sizes, _PRECISIONS.get(found["dtype"], found["dtype"].lower())
