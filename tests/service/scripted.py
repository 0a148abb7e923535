"""Small real backend controlled by the first pixel of each image; it records its batches."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from artifact import Artifact
from imaging.pillow_resizing import resize_and_crop
from imaging.preprocess import Tensor
from imaging.resizers import RESIZERS
from service import backends
from service.__main__ import main
from service.resources.exit import end_process
from tests.service.pictures import encode

SLOW, POISON, NOT_A_NUMBER, HANG = 250, 251, 252, 253
"""Red values that make resizing wait for the gate, the run raise, its logits NaN, the run wait for the gate."""

PATIENCE = 20.0


def pixels(red: int) -> NDArray[np.uint8]:
    return np.full((8, 6, 3), (red, 1, 2), np.uint8)


def picture(red: int) -> bytes:
    return encode(pixels(red))


class ScriptedBackend:
    """Backend whose logits are red, green and blue of the first pixel, and 3. Runs of variants in `broken` raise."""

    on_cores = False
    overlaps = False
    batched = True
    precision = "fp32"
    operators: ClassVar[None] = None
    batches: ClassVar[list[tuple[str, list[int]]]] = []
    """Variant and red values of every run since `fresh`."""
    spread: ClassVar[list[bool]] = []
    """True for each of these runs that used all cores."""
    opened: ClassVar[list[str]] = []
    closed: ClassVar[list[str]] = []
    broken: ClassVar[set[str]] = set()
    gate: ClassVar[threading.Event] = threading.Event()
    hanging: ClassVar[threading.Event] = threading.Event()
    """Set once a run waits for the gate."""

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:  # noqa: ARG002 -- the protocol's
        self.variant = artifact.manifest.variant
        self.opened.append(self.variant)

    @staticmethod
    def resolve_device(device: str) -> str:
        return "paper" if device == "auto" else device

    @property
    def name(self) -> str:
        return "scripted-paper"

    def prepare(self, largest: int) -> None:
        """Do nothing: no memory is allocated for a batch."""

    def run(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:
        first = images[:, 0, 0].astype(np.float32)  # [B, 3]
        reds = [int(red) for red in first[:, 0]]
        self.batches.append((self.variant, reds))
        type(self).spread.append(spread)
        if HANG in reds:
            self.wait()
        if POISON in reds or self.variant in self.broken:
            raise RuntimeError("the script says so")
        logits = np.concatenate([first, np.full((len(reds), 1), 3, np.float32)], axis=1)
        logits[first[:, 0] == NOT_A_NUMBER] = np.nan
        return logits

    @classmethod
    def wait(cls) -> None:
        cls.hanging.set()
        assert cls.gate.wait(PATIENCE)

    @classmethod
    def resize(
        cls, image: Image.Image, size: tuple[int, int], crop: tuple[int, int] | None, resampling: Image.Resampling
    ) -> NDArray[np.uint8]:
        """Resize on a decoding thread; wait for the gate if the first pixel is SLOW."""
        if np.asarray(image)[0, 0, 0] == SLOW:
            cls.wait()
        return resize_and_crop(image, size, crop, resampling)

    def interrupt(self) -> None:
        """Do nothing: a runtime may be unable to interrupt a run."""

    def close(self) -> None:
        self.closed.append(self.variant)


@contextmanager
def fresh() -> Iterator[type[ScriptedBackend]]:
    """Register the backend and its resizer as `scripted`, with empty records; open the gate at the end."""
    ScriptedBackend.gate, ScriptedBackend.hanging = threading.Event(), threading.Event()
    for memory in (ScriptedBackend.batches, ScriptedBackend.spread, ScriptedBackend.opened, ScriptedBackend.closed):
        memory.clear()
    ScriptedBackend.broken.clear()
    backends.BACKENDS["scripted"] = (__name__, "ScriptedBackend")
    RESIZERS["scripted"] = (__name__, "resize")
    try:
        yield ScriptedBackend
    finally:
        ScriptedBackend.gate.set()
        del backends.BACKENDS["scripted"], RESIZERS["scripted"]


resize = ScriptedBackend.resize


class FileGatedBackend(ScriptedBackend):
    """Scripted backend of a server process, whose gate is a file.

    `<gate>.hanging` is created when a run, or the load of the variant `stuck`, starts to wait.
    """

    file: ClassVar[Path]

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
        super().__init__(artifact, device, threads, cpu_precision)
        if self.variant == "stuck":
            self.wait()

    @classmethod
    def wait(cls) -> None:
        cls.file.with_suffix(".hanging").touch()
        end = time.monotonic() + PATIENCE
        while not cls.file.exists() and time.monotonic() < end:
            time.sleep(0.005)


if __name__ == "__main__":  # python -m tests.service.scripted GATE FLAGS…
    FileGatedBackend.file = Path(sys.argv[1])
    backends.BACKENDS["scripted"] = ("__main__", "FileGatedBackend")
    resize = FileGatedBackend.resize
    RESIZERS["scripted"] = ("__main__", "resize")
    end_process(main([*sys.argv[2:], "--backend", "scripted", "--resizer", "scripted"]))
