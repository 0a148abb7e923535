"""JSON documents of requests and responses, with the protocol's names."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, Strict, ValidationError, model_validator

from service.inputs.json_text import JsonError, parse_json
from service.problems.client_errors import ProtocolError

Parameters = dict[str, Any]
_Integer = Annotated[int, Strict()]

_FEW = Field(max_length=16)
"""Maximum number of inputs, outputs and axes; valid requests have one, one and four."""

D = TypeVar("D", bound="_Request")


class _ProtocolDocument(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Request(_ProtocolDocument):
    """Document of a client. A null member counts as absent, because many serialisers write null."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, document: object) -> object:
        if not isinstance(document, dict):
            return document
        given = {name: member for name, member in document.items() if member is not None}
        if isinstance(parameters := given.get("parameters"), dict):
            given["parameters"] = {name: value for name, value in parameters.items() if value is not None}
        return given


def read_document(kind: type[D], text: bytes, expected: str) -> D:
    """Return a request's JSON as a document.

    Args:
        kind: class of the document.
        text: JSON.
        expected: description of the expected document, for the message.

    Raises:
        ProtocolError: the text is not JSON, has too many values, or does not match; the message has the first location.
    """
    try:
        return kind.model_validate(parse_json(text))
    except JsonError as error:
        raise ProtocolError(f"body: {error}; expected {expected}") from error
    except ValidationError as error:  # few: lists are short, and validation ends with the first
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "body"
        raise ProtocolError(f"{where}: {problem['msg']}; expected {expected}") from error


class InputTensor(_Request):
    """Input: `data` in JSON, or binary data after the JSON with the parameter `binary_data_size`."""

    name: str = Field(description="image, or image_bytes")
    shape: Annotated[list[_Integer], FailFast(), _FEW] = Field(
        description="[n, height, width, 3] or [n, 3, height, width]; for image_bytes [n]"
    )
    datatype: str = Field(description="UINT8 or FP32, as the artifact's input; for image_bytes BYTES")
    parameters: Parameters = Field(default={}, description="binary_data_size: bytes of this tensor after the JSON")
    data: Any = Field(default=None, description="numbers in row order, flat or nested; for image_bytes base64 strings")


class RequestedOutput(_Request):
    """Requested output and its form."""

    name: str = Field(description="logits")
    parameters: Parameters = Field(
        default={}, description="binary_data: true for binary; classification: k for the k best classes as strings"
    )


class InferRequest(_Request):
    """Inference request."""

    id: str = Field(default="", description="returned in the response")
    parameters: Parameters = Field(
        default={},
        description="variant; timeout in µs, 0 for the server's own; binary_data_output: true for binary outputs; "
        "others are ignored",
    )
    inputs: Annotated[list[InputTensor], FailFast(), _FEW] = Field(description="one")
    outputs: Annotated[list[RequestedOutput], FailFast(), _FEW] = Field(default=[], description="default: logits")


class OutputTensor(_ProtocolDocument):
    """Output: `data` in JSON, or binary data after the JSON with the parameter `binary_data_size`."""

    name: str
    shape: list[int] = Field(description="[n, classes]; with classification [n, k]")
    datatype: str = Field(description="FP32; with classification BYTES")
    parameters: Parameters = {}
    data: list[float] | list[str] | None = Field(
        default=None, description='flat; with classification "value:index:label"'
    )


class InferResponse(_ProtocolDocument):
    """Response to an inference request."""

    id: str | None = Field(default=None, description="id of the request; absent if it had none")
    model_name: str = Field(description="name in the path")
    model_version: str
    parameters: Parameters = Field(
        description="variant: the variant that ran; batch_size: number of images in the batch"
    )
    outputs: list[OutputTensor]


class Live(_ProtocolDocument):
    """Liveness of the process."""

    live: bool


class Readiness(_ProtocolDocument):
    """Readiness of the server."""

    ready: bool


class ModelList(_ProtocolDocument):
    """Served models."""

    models: list[str] = Field(description="<model>@<variant>, by name")


class ModelReadiness(_ProtocolDocument):
    """Readiness of a model."""

    name: str
    ready: bool


class ServerMetadata(_ProtocolDocument):
    """Server name, version, and supported extensions of the protocol."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(_ProtocolDocument):
    """Input or output; -1 is any number of images."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(_ProtocolDocument):
    """Model; a request has exactly one of the inputs."""

    name: str
    versions: list[str] = Field(description="oldest first; the last one is the default")
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class IndexEntry(_ProtocolDocument):
    """Version in the repository."""

    name: str = Field(description="<model>@<variant>")
    version: str
    state: str = Field(description="READY or UNAVAILABLE")
    reason: str | None = Field(default=None, description="reason for being unavailable; otherwise absent")


class IndexRequest(_Request):
    """Filter of the index."""

    ready: Annotated[bool, Strict()] = Field(default=False, description="list ready versions only")


class LoadRequest(_Request):
    """Request to load or unload a model."""

    parameters: Parameters = Field(default={}, description="config and file: are refused; others are ignored")
