"""Settings and result rows of the parts of the GPU check.

A part is a function `(settings, emit) -> None`, named `module:function`. It emits each row as soon as it is measured,
so that a later crash loses none. SkippedError means that the host lacks something; FailedError and any other
exception mean that a check failed.
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
    """The part cannot run on this host; the message names what is missing."""


class FailedError(Exception):
    """A check failed."""


@dataclass(frozen=True)
class Settings:
    """Settings of a run.

    Attributes:
        device: `cuda`, or `cpu` to test the check itself.
        artifacts: folder of the repositories `digits` and `networks`; missing artifacts are exported.
        output: folder of results and logs.
        networks: sources of the timed networks.
        precisions: exported precisions; the last one is timed and served.
        batches: timed batch sizes.
        clients: numbers of concurrent clients.
        seconds: length of one measurement.
        images: number of held-out digits that each variant classifies.
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
        """Return the settings as JSON, for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return settings from the text of `to_json`."""
        found: dict[str, Any] = json.loads(text)
        made: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in found.items()}
        return cls(**made)

    @property
    def digits(self) -> Path:
        """Repository of the digits model."""
        return Path(self.artifacts, "digits")

    def network(self, source: str, precision: str) -> Path:
        """Return the path of a network's artifact."""
        return Path(self.artifacts, "networks", name_of(source), precision, "1")


@dataclass(frozen=True)
class Row:
    """One line of a part's table.

    Attributes:
        what: name of the measurement or check.
        figures: values by name; names include the unit.
        ok: whether the check passed.
    """

    what: str
    figures: Figures
    ok: bool = True


Emit = Callable[[Row], None]
Part = Callable[[Settings, Emit], None]


def name_of(source: str) -> str:
    """Return the model name of a source, such as `swin_tiny_patch4_window7_224`."""
    return Path(source.partition(":")[2]).stem


def needed(name: str, remedy: str) -> ModuleType:
    """Import a module. Raises SkippedError with the remedy if it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise SkippedError(f"{error}; {remedy}") from error


def nvml() -> Any | None:  # noqa: ANN401 -- pynvml has no types
    """Return the initialised module `pynvml`, or None if nvidia-ml-py is not installed."""
    try:
        found = import_module("pynvml")
    except ImportError:
        return None
    found.nvmlInit()
    return found


def torch_device(settings: Settings) -> Any:  # noqa: ANN401 -- torch may be missing
    """Import torch. Raises SkippedError if it is missing or does not find the device."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(settings.output, "inductor")))  # reused by a second run
    torch = needed("torch", "install torch")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise SkippedError(f"torch {torch.__version__} sees no GPU; install a build for CUDA")
    return torch


def milliseconds(run: Callable[[], object], seconds: float) -> list[float]:
    """Return the time of each run in ms, over `seconds` and at least five runs, after three warm-up runs."""
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
    """Yield each network and batch size with a function that times a run and emits its row."""
    for batch in settings.batches:  # batches outermost: if the part is cut short, each network has a row
        for source in settings.networks:

            def measure(run: Callable[[], object], source: str = source, batch: int = batch) -> None:
                emit(Row(name_of(source), speed(batch, milliseconds(run, settings.seconds))))

            yield source, batch, measure
