"""TensorRT engine of an artifact: library, GPUs, batch profile and builder settings."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, StringConstraints, model_validator

from artifact.parts.values import Count, Measure, Part, Text

Flavour = Literal["tensorrt", "rtx"]
"""TensorRT, or TensorRT for RTX; their engines are not interchangeable."""

ComputeCapability = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,2}\.[0-9]$")]
"""Compute capability of a GPU in NVIDIA's notation, such as 8.6."""


class Profile(Part):
    """Batch sizes that an engine accepts, and the one it is optimised for."""

    min: PositiveInt
    opt: PositiveInt
    max: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"profile {self} is not in order: min, opt, max")
        return self

    def __str__(self) -> str:
        """Return the profile in the notation of `--batch`: 1:8:32."""
        return f"{self.min}:{self.opt}:{self.max}"


class Gpu(Part):
    """GPU that an engine was built on."""

    name: Text
    compute_capability: ComputeCapability


class BuilderSettings(Part):
    """Settings of the builder; the library's defaults if absent."""

    workspace_bytes: PositiveInt | None = None
    optimization_level: Count | None = None
    version_compatible: bool = Field(default=False, description="later versions of the same major version run it too")
    tf32: bool = Field(default=False, description="whether float32 products may use TF32 (10-bit mantissa)")


class Engine(Part):
    """Serialised engine: executable code for one kind of GPU and one version of a library."""

    file: Text
    library: Literal["TensorRT", "TensorRT-RTX"]
    version: Text = Field(description="version of the library")
    flavour: Flavour
    gpu: Gpu | None = Field(default=None, description="absent if built ahead of time for `targets`, without a GPU")
    targets: tuple[ComputeCapability, ...] = Field(
        default=(), description="compute capabilities of an engine built ahead of time"
    )
    profile: Profile
    settings: BuilderSettings
    seconds: Measure = Field(description="duration of parsing and building")

    @model_validator(mode="after")
    def _for_some_gpu(self) -> Self:
        if (self.gpu is None) == (not self.targets):
            raise ValueError("an engine has either a gpu that it was built on, or targets")
        return self
