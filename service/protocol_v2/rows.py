"""The images of one inference request, whichever way they came."""

from collections.abc import Callable
from dataclasses import dataclass

from artifact import Manifest
from imaging.preprocess import Reading, Tensor
from service.problems.client_errors import ProtocolError
from service.protocol_v2.documents import InputTensor
from service.protocol_v2.messages import shown
from service.telemetry.stopwatch import Stopwatch


@dataclass(frozen=True)
class RowLimits:
    """Of one request: how many images, and how each is read."""

    images: int
    reading: Reading


@dataclass(frozen=True)
class ImageRows:
    """n images, of which either `tensor` is there or `make` makes it."""

    count: int
    """n"""
    tensor: Tensor | None = None
    """uint8 [n, H, W, 3] or float32 [n, 3, H, W]."""
    make: Callable[[Stopwatch], Tensor] | None = None
    """Takes its time, so not on the event loop; has the laps `decode` and `preprocess`, and may raise ProblemError."""


def check_datatype(tensor: InputTensor, expected: str) -> None:
    """Raise ProtocolError unless an input has this datatype."""
    if tensor.datatype != expected:
        raise ProtocolError(f"input {tensor.name!r} has datatype {shown(tensor.datatype)}, expected {expected}")


def check_count(count: int, manifest: Manifest, limits: RowLimits) -> None:
    """Raise ProtocolError unless one request may have so many images."""
    if not 1 <= count <= limits.images:
        raise ProtocolError(
            f"{shown(count)} images in one request, {manifest.key.name} takes 1 to {limits.images}; "
            "send more requests, they are batched here"
        )
