"""Limits on the images of an inference request."""

from dataclasses import dataclass

from artifact import Manifest
from imaging.preprocess import Reading
from service.problems.client_errors import ProtocolError
from service.protocol_v2.documents import InputTensor
from service.protocol_v2.messages import shown


@dataclass(frozen=True)
class RowLimits:
    """Maximum number of images of a request, and settings for reading them."""

    images: int
    reading: Reading


def check_datatype(tensor: InputTensor, expected: str) -> None:
    """Raise ProtocolError unless an input has this datatype."""
    if tensor.datatype != expected:
        raise ProtocolError(f"input {tensor.name!r} has datatype {shown(tensor.datatype)}, expected {expected}")


def check_count(count: int, manifest: Manifest, limits: RowLimits) -> None:
    """Raise ProtocolError unless one request may have this number of images."""
    if not 1 <= count <= limits.images:
        raise ProtocolError(
            f"{shown(count)} images in one request, {manifest.key.name} takes 1 to {limits.images}; "
            "send several requests, which the server batches"
        )
