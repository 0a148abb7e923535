"""Interface between the service and a runtime.

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
    """Runtime of one artifact.

    With `on_cores`, several threads may call `run` concurrently; with `overlaps`, two; otherwise one.

    Args:
        artifact: verified artifact.
        device: result of `resolve_device`.
        threads: CPU threads of a run with `spread`.
        cpu_precision: precision of fp32 artifacts on the CPU, one of CPU_PRECISIONS; other devices ignore it.

    Raises:
        GraphError: this backend cannot run the graph, or its input or output does not match the manifest.
        BackendUnavailableError: the device failed, or lacks the precision; there is no fallback.
    """

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str) -> None: ...

    @staticmethod
    def resolve_device(device: str) -> str:
        """Return the device for `auto`, or check and return a named one.

        Raises:
            BackendUnavailableError: the device is unknown or is not available.
        """

    @property
    def name(self) -> str:
        """Runtime and device, as in responses: `onnxruntime-cpu`."""

    @property
    def precision(self) -> str:
        """Running precision: `fp32`; for quantized graphs, of the products and the rest: `int8+bf16`."""

    @property
    def operators(self) -> Operators | None:
        """Number of running nodes by operator and precision; None if the runtime does not report it."""

    @property
    def on_cores(self) -> bool:
        """True if runs use the CPU's cores, False if they use a device."""

    @property
    def overlaps(self) -> bool:
        """True if images are copied to the device while another run is computed."""

    @property
    def batched(self) -> bool:
        """True if the images of a run are computed as a batch, False if separately."""

    def prepare(self, largest: int) -> None:
        """Allocate buffers and run measurements for batches up to `largest`. Called once, before the first run.

        Raises:
            GraphError, BackendUnavailableError: as `run`.
        """

    def run(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:
        """Return logits, float32 [B, C].

        Args:
            images: batch of B images.
            spread: whether to use all threads, because other cores are idle, instead of one. Ignored unless
                `on_cores`.

        Raises:
            GraphError: the images cannot be computed.
            BackendUnavailableError: the device failed.
        """

    def interrupt(self) -> None:
        """Interrupt running and later runs, if the runtime supports it. Thread-safe."""

    def close(self) -> None:
        """Release the runtime's resources. Current runs end normally; there are no later runs."""
