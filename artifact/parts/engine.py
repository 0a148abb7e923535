"""TensorRT engine of an artifact: what built it, for which GPUs and batches, and how."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, StringConstraints, model_validator

from artifact.parts.values import Count, Measure, Part, Text

Flavour = Literal["tensorrt", "rtx"]
"""TensorRT, or TensorRT for RTX; neither reads the other's engines."""

ComputeCapability = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,2}\.[0-9]$")]
"""Of a GPU, as NVIDIA writes it: 8.6."""


class Profile(Part):
    """Batch sizes that an engine accepts, and the one that its kernels were chosen for."""

    min: PositiveInt
    opt: PositiveInt
    max: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"profile {self} is not in order: min, opt, max")
        return self

    def __str__(self) -> str:
        """Return it as `--batch` takes it: 1:8:32."""
        return f"{self.min}:{self.opt}:{self.max}"


class Gpu(Part):
    """The GPU that an engine was built on."""

    name: Text
    compute_capability: ComputeCapability


class BuilderSettings(Part):
    """Settings of the builder; absent: the library's default."""

    workspace_bytes: PositiveInt | None = None
    optimization_level: Count | None = None
    version_compatible: bool = Field(default=False, description="later versions of the same major version run it too")
    tf32: bool = Field(default=False, description="whether products of float32 may be rounded to 10 bits")


class Engine(Part):
    """A serialised engine. It is executable code for one kind of GPU and one version of a library."""

    file: Text
    library: Literal["TensorRT", "TensorRT-RTX"]
    version: Text = Field(description="of the library")
    flavour: Flavour
    gpu: Gpu | None = Field(default=None, description="absent: built ahead of time for `targets`, without a GPU")
    targets: tuple[ComputeCapability, ...] = Field(
        default=(), description="compute capabilities that it was built for ahead of time"
    )
    profile: Profile
    settings: BuilderSettings
    seconds: Measure = Field(description="of parsing and building")

    @model_validator(mode="after")
    def _for_some_gpu(self) -> Self:
        if (self.gpu is None) == (not self.targets):
            raise ValueError("an engine has either the gpu that it was built on, or targets")
        return self
