"""Result of one file.

Shapes: C outputs of the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from artifact.opening import UnreadableFileError
from artifact.text import shown
from service.offline.files import ImageFile
from service.problems.errors import ServiceError
from service.problems.server_errors import BackendDownError

T = TypeVar("T")

REASON_LIMIT = 500
"""Maximum number of characters of an error in a row."""

STAGES = ("read", "decode", "preprocess", "inference")


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one file.

    Attributes:
        file: the file.
        output: [C], all finite; None after an error.
        error: printable reason; empty if there is an output.
        milliseconds: time of each stage of STAGES; 0 for stages not reached.
    """

    file: ImageFile
    output: NDArray[np.float32] | None
    error: str
    milliseconds: dict[str, float]

    @property
    def failed(self) -> bool:
        """True if the file has no prediction."""
        return self.output is None


class Finished(Protocol):
    """Result of one file, or the part of it that is kept."""

    @property
    def failed(self) -> bool:
        """True if the file has no prediction."""


Finish = Callable[[Result], T]
"""Returns the part of a result that is kept; called on any thread, and may raise any exception."""


def reason(outcome: BaseException, attempts: int) -> str:
    """Return the printable reason of a file without prediction.

    Args:
        outcome: the exception.
        attempts: number of runs with this image.
    """
    return shown(_sentence(outcome, attempts), REASON_LIMIT)


def _sentence(outcome: BaseException, attempts: int) -> str:
    if isinstance(outcome, UnreadableFileError):
        return f"the file {outcome}"
    if isinstance(outcome, BackendDownError):
        return f"the backend failed {attempts} times on batches with this image"
    return str(outcome) if isinstance(outcome, ServiceError) else f"{type(outcome).__name__}: {outcome}"
