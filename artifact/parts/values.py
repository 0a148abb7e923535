"""Field types of a manifest, and the base class of its parts."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=128)]
"""Name of a model or variant. It is used in paths and URLs: no slashes, spaces or upper case."""

Text = Annotated[str, StringConstraints(max_length=1000)]
"""Text that is repeated in lists of models and in responses, at most 1,000 characters."""

Pixels = Annotated[int, Field(ge=1, le=65_535)]
"""Side of an image; supported file formats have no longer ones."""

Task = Literal["single-label", "multi-label", "regression"]
"""Kind of outputs: scores of exclusive classes, scores of independent classes, or values."""

Target = Literal["portable", "onnxruntime", "openvino", "tensorrt"]
"""Runtime that a graph was optimised for. Every graph is standard ONNX, so any backend may serve it."""

Activation = Literal["none", "sigmoid", "softmax"]

RunPrecision = Literal["fp32", "tf32", "fp16", "bf16", "int8"]
"""Precision that a runtime computes in, which may be lower than the artifact's. For an int8 artifact, `int8` is the
artifact's own precision; any other value is the precision of the runtime in the parts that are not quantized."""

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""Precision of an artifact. int8: products with weights are int8, everything else is float32."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Measure = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
SignedShare = Annotated[float, Field(ge=-1, le=1)]
Triple = tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class Part(BaseModel):
    """Part of a manifest: immutable, without undeclared fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)
