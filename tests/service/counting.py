"""Small real backend that records its batch sizes for each artifact, and returns equal logits for all classes."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from artifact import Artifact
from imaging.preprocess import Tensor


class CountingBackend:
    on_cores = False
    overlaps = False
    batched = True
    precision = "fp32"
    operators: ClassVar[None] = None
    batches: ClassVar[dict[str, list[int]]] = {}
    closed: ClassVar[list[str]] = []

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:  # noqa: ARG002
        manifest = artifact.manifest
        self.artifact = f"{manifest.model}/{manifest.variant}/{manifest.version}"
        self.classes = manifest.output.classes
        self._name = f"counting-{device}-{threads}"

    @staticmethod
    def resolve_device(device: str) -> str:
        return "abacus" if device == "auto" else device

    @property
    def name(self) -> str:
        return self._name

    def prepare(self, largest: int) -> None:
        """Do nothing: no memory is allocated for a batch."""

    def run(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:  # noqa: ARG002 -- the protocol's
        self.batches.setdefault(self.artifact, []).append(len(images))
        return np.zeros((len(images), self.classes), np.float32)

    def interrupt(self) -> None:
        """Do nothing: no run takes long enough."""

    def close(self) -> None:
        self.closed.append(self.artifact)
