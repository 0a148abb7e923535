"""Request and result of an export to a Triton repository."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "gpu"]
Versions = Literal["all", "newest"]


@dataclass(frozen=True)
class TritonRequest:
    """Artifacts to export, and how Triton is to run them.

    Attributes:
        repository: of artifacts.
        output: directory of the Triton repository, which must not exist.
        models, variants: names to export; empty for all.
        versions: all versions of a variant, or its newest alone.
        backend: of Triton, a key of `backends.BACKENDS`.
        accelerator: of ONNX Runtime, a key of `backends.ACCELERATORS`; None for none.
        device: device of the networks; None for the accelerator's, else `auto`: a GPU where Triton finds one.
        instances: instances of each network, on each device.
        decoders: processes that decode images, for each way to prepare them.
        batch_delay_ms: how long a batch that is not full waits for more images.
        max_queue: requests that wait for one network; one more is refused.
        timeout_ms: how long a request waits at most for its batch, then it is refused.
        resizer: a key of `imaging.resizers.RESIZERS`.
        max_pixels: most pixels an image may have.
    """

    repository: Path
    output: Path
    models: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    versions: Versions = "all"
    backend: str = "onnxruntime"
    accelerator: str | None = None
    device: Device | None = None
    instances: int = 1
    decoders: int = 1
    batch_delay_ms: float = 0.0
    max_queue: int = 256
    timeout_ms: int = 30_000
    resizer: str = "simd"
    max_pixels: int = 50_000_000


@dataclass(frozen=True)
class WrittenNetwork:
    """One network of the repository: its names, versions, and what its user should know."""

    name: str
    image: str
    pixels: str
    versions: tuple[int, ...]
    max_batch: int
    task: str
    precision: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class WrittenRepository:
    """A Triton repository that was written.

    Attributes:
        path: path of the repository.
        backend: backend of the networks.
        networks: written networks.
        requirements: requirements of the Python models, as pip takes them.
    """

    path: Path
    backend: str
    networks: tuple[WrittenNetwork, ...]
    requirements: tuple[str, ...]
