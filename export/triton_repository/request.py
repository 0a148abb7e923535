"""Request and result of an export to a Triton repository."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "gpu"]
Versions = Literal["all", "newest"]


@dataclass(frozen=True)
class TritonRequest:
    """Artifacts to export, and their configuration in Triton.

    Attributes:
        repository: repository of artifacts.
        output: directory of the Triton repository, which must not exist.
        models, variants: names to export; empty for all.
        versions: all versions of a variant, or only the newest.
        backend: Triton backend, a key of `backends.BACKENDS`.
        accelerator: accelerator of ONNX Runtime, a key of `backends.ACCELERATORS`; None for none.
        device: device of the networks; None means that of the accelerator or the default of the backend.
        instances: number of instances of each network per device.
        decoders: number of decoding processes for each preprocessing.
        batch_delay_ms: time that an incomplete batch waits for more images, in ms.
        max_queue: maximum number of waiting requests of a network.
        timeout_ms: maximum time that a request waits for its batch, in ms.
        resizer: resizer, a key of `imaging.resizers.RESIZERS`.
        max_pixels: maximum number of pixels of an image.
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
    """Network of a written repository: names, versions, and notes for users."""

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
    """Written Triton repository.

    Attributes:
        path: path of the repository.
        backend: backend of the networks.
        networks: written networks.
        requirements: requirements of the Python models, in pip's format.
    """

    path: Path
    backend: str
    networks: tuple[WrittenNetwork, ...]
    requirements: tuple[str, ...]
