"""What goes in and out as JSON, as OpenAPI documents it; the names are the protocol's."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

Parameters = dict[str, Any]
_Integer = Annotated[int, Strict()]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class InputTensor(_Document):
    """One input: `data` in JSON, or binary after it with the parameter `binary_data_size`."""

    name: str = Field(description="image, or image_bytes")
    shape: list[_Integer] = Field(description="[n, height, width, 3] or [n, 3, height, width]; of image_bytes [n]")
    datatype: str = Field(description="the artifact's, UINT8 or FP32; of image_bytes BYTES")
    parameters: Parameters = Field(default={}, description="binary_data_size: bytes of this tensor after the JSON")
    data: Any = Field(default=None, description="numbers in row order, flat or nested; of image_bytes base64 strings")


class RequestedOutput(_Document):
    """One output and its form."""

    name: str = Field(description="logits")
    parameters: Parameters = Field(
        default={}, description="binary_data: true for binary; classification: k for the k best classes as strings"
    )


class InferRequest(_Document):
    """An inference request."""

    id: str = Field(default="", description="comes back in the answer")
    parameters: Parameters = Field(
        default={},
        description="variant; timeout in µs, 0 for the server's own; binary_data_output: true for binary outputs; "
        "others are ignored",
    )
    inputs: list[InputTensor] = Field(description="one")
    outputs: list[RequestedOutput] = Field(default=[], description="none: all, which is logits")


class OutputTensor(_Document):
    """One output: `data` in JSON, or binary after it with the parameter `binary_data_size`."""

    name: str
    shape: list[int] = Field(description="[n, classes]; with classification [n, k]")
    datatype: str = Field(description="FP32; with classification BYTES")
    parameters: Parameters = {}
    data: list[float] | list[str] | None = Field(
        default=None, description='flat; with classification "value:index:label"'
    )


class InferResponse(_Document):
    """The answer to an inference request."""

    id: str | None = Field(default=None, description="the request's; absent if it had none")
    model_name: str = Field(description="as the address has it")
    model_version: str
    parameters: Parameters = Field(description="variant: the one that ran; batch_size: images that ran together")
    outputs: list[OutputTensor]


class Live(_Document):
    """Whether the process answers."""

    live: bool


class Readiness(_Document):
    """Whether the server may get requests."""

    ready: bool


class ModelReadiness(_Document):
    """Whether a model may get requests."""

    name: str
    ready: bool


class ServerMetadata(_Document):
    """The server, and which of the protocol's extensions it has."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(_Document):
    """An input or output; -1 is any number of images."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(_Document):
    """A model; a request has exactly one of the inputs."""

    name: str
    versions: list[str] = Field(description="oldest first; a request that names none gets the last")
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class IndexEntry(_Document):
    """One version in the repository."""

    name: str = Field(description="<model>@<variant>")
    version: str
    state: str = Field(description="READY or UNAVAILABLE")
    reason: str = Field(description="why it is unavailable, else empty")


class IndexRequest(_Document):
    """What the index shall list."""

    ready: Annotated[bool, Strict()] = Field(default=False, description="only what is ready")


class LoadRequest(_Document):
    """A request to load or unload a model."""

    parameters: Parameters = Field(default={}, description="config and file: are refused, others are ignored")


class ErrorDocument(_Document):
    """What was wrong, and what would be right."""

    error: str
