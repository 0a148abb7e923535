"""The seam between the service and a runtime.

Shapes: B images, C classes; the input is the manifest's, uint8 [B, H, W, 3] or float32 [B, 3, H, W].
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from artifact import Artifact
from imaging.preprocess import Tensor


class Backend(Protocol):
    """Runs one artifact.

    If `on_cores`, several threads may call `run` at a time; else one does.

    Args:
        artifact: verified.
        device: what `resolve_device` returned.
        threads: CPU threads of one run that is spread.

    Raises:
        GraphError: this backend cannot run the graph, or its input or output is not what the manifest says.
        BackendUnavailableError: the device failed; it is never replaced by another one.
    """

    def __init__(self, artifact: Artifact, device: str, threads: int) -> None: ...

    @staticmethod
    def resolve_device(device: str) -> str:
        """Return the device for `auto`, or a named one as it is.

        Raises:
            BackendUnavailableError: the device is unknown or cannot be had.
        """

    @property
    def name(self) -> str:
        """Runtime and device, as answers state it: `onnxruntime-cpu`."""

    @property
    def precision(self) -> str:
        """The lowest precision that it computes in, a key of the manifest's `golden.limits`: `fp32`, `bf16`, `int8`.

        Of an int8 artifact, `int8` if what is not quantized runs as the graph has it, else what that runs in.
        """

    @property
    def on_cores(self) -> bool:
        """Whether runs take the CPU's cores; else they take a device, and leave the cores alone."""

    def run(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:
        """Return logits, float32 [B, C].

        Args:
            images: B of them.
            spread: over all threads, for there are cores with nothing else to do; else on the calling thread alone. Of
                no meaning unless `on_cores`.

        Raises:
            GraphError: they cannot be computed.
        """

    def interrupt(self) -> None:
        """Let runs that are under way fail soon, if the runtime can; none succeeds after. Any thread may call it."""

    def close(self) -> None:
        """Give back what the runtime holds. A run that is under way ends as if it had not; none is begun after."""
