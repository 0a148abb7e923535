"""Types of a manifest's fields, and the base of its parts."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=128)]
"""A model's or variant's name: it becomes a directory and part of an address, so no slash, space or upper case."""

Text = Annotated[str, StringConstraints(max_length=1000)]
"""Text that is repeated in lists of models and in answers, at most 1,000 characters."""

Pixels = Annotated[int, Field(ge=1, le=65_535)]
"""A side of an image; no format of pictures has a longer one."""

Task = Literal["single-label", "multi-label", "regression"]
"""Kind of outputs: scores of exclusive classes, scores of independent classes, or values."""

Target = Literal["portable", "onnxruntime", "openvino", "tensorrt"]
"""Runtime that a graph was written for. The graph is standard ONNX in any case: every backend may serve it."""

Activation = Literal["none", "sigmoid", "softmax"]

RunPrecision = Literal["fp32", "tf32", "fp16", "bf16", "int8"]
"""The precision that a runtime computes in, which may be below the artifact's; of an int8 artifact, `int8` is what the
artifact itself says, and any other is what the runtime computes in where the graph is not quantized."""

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""Of an artifact. int8: of the products with weights; everything else is float32 then."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Measure = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
SignedShare = Annotated[float, Field(ge=-1, le=1)]
Triple = tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class Part(BaseModel):
    """A part of a manifest: no fields but those that are declared, and never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
