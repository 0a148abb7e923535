"""The seam between the service and a runtime.

Shapes: B images, C classes; the input is the manifest's, uint8 [B, H, W, 3] or float32 [B, 3, H, W].
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from artifact import Artifact
from imaging.preprocess import Tensor

Operators = Mapping[str, Mapping[str, int]]
"""Number of nodes of the compiled graph, by operator and precision: {"FullyConnected": {"bf16": 52}}."""

CPU_PRECISIONS = ("fp32", "bf16")
"""Precisions in which an fp32 artifact may be computed on the CPU."""


class Backend(Protocol):
    """Runs one artifact.

    If `on_cores`, several threads may call `run` at a time; if `overlaps`, two; else one does.

    Args:
        artifact: verified.
        device: what `resolve_device` returned.
        threads: CPU threads of one run that is spread.
        cpu_precision: what an fp32 artifact is computed in on the CPU, one of CPU_PRECISIONS; other devices ignore it.

    Raises:
        GraphError: this backend cannot run the graph, or its input or output is not what the manifest says.
        BackendUnavailableError: the device failed, or does not have the precision; it is never replaced by another one.
    """

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str) -> None: ...

    @staticmethod
    def resolve_device(device: str) -> str:
        """Return the device for `auto`, or a named one as it is.

        Raises:
            BackendUnavailableError: the device is unknown or is not available.
        """

    @property
    def name(self) -> str:
        """Runtime and device, as answers state it: `onnxruntime-cpu`."""

    @property
    def precision(self) -> str:
        """The precision that runs: `fp32`; of quantised products and the rest, `int8+bf16`."""

    @property
    def operators(self) -> Operators | None:
        """The nodes that run, by operator and precision; None if the runtime does not say."""

    @property
    def on_cores(self) -> bool:
        """True if runs take the CPU's cores; else they run on a device."""

    @property
    def overlaps(self) -> bool:
        """True if, on a device, images of one run are copied there while another run is computed."""

    @property
    def batched(self) -> bool:
        """True if images of one run are computed together; else each is computed as if it were alone."""

    def prepare(self, largest: int) -> None:
        """Allocate and measure for batches up to the largest. Called once, before the first run.

        Raises:
            GraphError, BackendUnavailableError: as `run`.
        """

    def run(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:
        """Return logits, float32 [B, C].

        Args:
            images: B of them.
            spread: over all threads, for there are cores with nothing else to do; else on one thread. Of no meaning
                unless `on_cores`.

        Raises:
            GraphError: they cannot be computed.
            BackendUnavailableError: the device failed.
        """

    def interrupt(self) -> None:
        """Let runs that are under way fail soon, if the runtime can; none succeeds after. Any thread may call it."""

    def close(self) -> None:
        """Release what the runtime holds. A run that is under way ends normally; none is begun afterwards."""
