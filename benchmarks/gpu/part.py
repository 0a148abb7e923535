"""Settings that a part of the GPU check gets, and rows that it emits.

A part is a function `(settings, emit) -> None` of a module here, named `module:function`. It emits rows as soon as it
has them, so that a crash later loses none. It raises SkippedError where the host lacks something, and FailedError, or
anything else, where a check fails.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]

Figures = Mapping[str, float | int | str]


class SkippedError(Exception):
    """The part cannot run here; the message says what is missing."""


class FailedError(Exception):
    """A check failed."""


@dataclass(frozen=True)
class Settings:
    """Settings of a run.

    Attributes:
        device: `cuda`, or `cpu` to try out the check itself.
        artifacts: folder of the repositories `digits` and `networks`, which are exported where they are missing.
        output: folder of results and logs.
        networks: sources of the networks that are timed.
        precisions: that they are exported in; the last one is timed and served.
        batches: that they are timed at.
        clients: numbers of clients that the service is loaded by.
        seconds: seconds of one measurement.
        images: held-out images of the digits that each variant classifies.
    """

    device: str
    artifacts: str
    output: str
    networks: tuple[str, ...]
    precisions: tuple[str, ...] = ("fp32", "bf16", "fp16")
    batches: tuple[int, ...] = (1, 8, 32)
    clients: tuple[int, ...] = (1, 8, 64)
    seconds: float = 2.0
    images: int = 360

    def to_json(self) -> str:
        """Return the settings for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the settings of `to_json`."""
        found: dict[str, Any] = json.loads(text)
        made: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in found.items()}
        return cls(**made)

    @property
    def digits(self) -> Path:
        """The repository of the digits model."""
        return Path(self.artifacts, "digits")

    def network(self, source: str, precision: str) -> Path:
        """Return the artifact of a network."""
        return Path(self.artifacts, "networks", name_of(source), precision, "1")


@dataclass(frozen=True)
class Row:
    """One line of a part's table.

    Attributes:
        what: was measured or checked.
        figures: by name, with the unit in it.
        ok: whether the check passed.
    """

    what: str
    figures: Figures
    ok: bool = True


Emit = Callable[[Row], None]
Part = Callable[[Settings, Emit], None]


def name_of(source: str) -> str:
    """Return the model's name of a network: `swin_tiny_patch4_window7_224`."""
    return Path(source.partition(":")[2]).stem


def needed(name: str, remedy: str) -> ModuleType:
    """Return a module. Raises SkippedError with the remedy where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise SkippedError(f"{error}; {remedy}") from error


def nvml() -> Any | None:  # noqa: ANN401 -- it ships no types
    """Return the module `pynvml`, initialised; None where nvidia-ml-py is not installed."""
    try:
        found = import_module("pynvml")
    except ImportError:
        return None
    found.nvmlInit()
    return found


def torch_device(settings: Settings) -> Any:  # noqa: ANN401 -- torch may not be there
    """Return torch, once it has the device. Raises SkippedError where it does not."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(settings.output, "inductor")))  # for a second run
    torch = needed("torch", "install torch")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise SkippedError(f"torch {torch.__version__} sees no GPU; install a build for CUDA")
    return torch


def milliseconds(run: Callable[[], object], seconds: float) -> list[float]:
    """Return the time of each run, in ms, over `seconds` and at least five runs, after three to warm up."""
    for _ in range(3):
        run()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 5:
        start = time.perf_counter()
        run()
        taken.append(1000 * (time.perf_counter() - start))
    return taken


def speed(batch: int, taken: list[float]) -> Figures:
    """Return the figures of runs of a batch."""
    return {
        "batch": batch,
        "median ms": round(statistics.median(taken), 3),
        "p99 ms": round(sorted(taken)[int(0.99 * (len(taken) - 1))], 3),
        "images/s": round(1000 * batch / statistics.median(taken), 1),
        "runs": len(taken),
    }


def each_network(settings: Settings, emit: Emit) -> Iterator[tuple[str, int, Callable[[Callable[[], object]], None]]]:
    """Yield a network, a batch size, and what times a run of both and emits the row."""
    for batch in settings.batches:  # a part that ends early has a row of each network
        for source in settings.networks:

            def measure(run: Callable[[], object], source: str = source, batch: int = batch) -> None:
                emit(Row(name_of(source), speed(batch, milliseconds(run, settings.seconds))))

            yield source, batch, measure
