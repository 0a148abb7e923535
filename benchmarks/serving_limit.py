"""In-process limit of `benchmarks.serving`: the service's stages in a loop without HTTP, one process per core.

The backend is the one that the service chooses, with one thread per process.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from artifact import read_artifact
from benchmarks.serving_inputs import IMAGES, ROOT
from imaging.decode import decode
from imaging.preprocess import Reading, preprocess
from imaging.resizers import find_resizer
from service.backends import choose_ways
from service.ranking import rank
from service.resources.cores import available_cores
from service.schemas import Prediction
from service.settings import Settings

MAX_PIXELS = 50_000_000


def limit(artifact: Path, images: Path, seconds: int, resizer: str = "auto", backend: str | None = None) -> float:
    """Return the throughput of the stages over all cores in images/s.

    Args:
        artifact: the version.
        images: folder of `make_images`.
        seconds: duration of the measurement.
        resizer: name of the resizer.
        backend: name of the backend; None takes that of the environment, as the service does.
    """
    return sum(float(process.communicate()[0]) for process in start(artifact, images, seconds, resizer, backend))


def start(
    artifact: Path, images: Path, seconds: int, resizer: str = "auto", backend: str | None = None
) -> list[subprocess.Popen[str]]:
    """Start the processes of `limit`; each prints its images/s."""
    environment = os.environ if backend is None else {**os.environ, "POSBAKE_BACKEND": backend}
    command = [sys.executable, "-m", "benchmarks.serving_limit", str(artifact), str(images), str(seconds), resizer]
    return [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)  # noqa: S603
        for _ in range(available_cores())
    ]


def classifier(path: Path, resizer: str = "auto") -> Callable[[bytes], list[Prediction]]:
    """Return a function that runs the service's stages on one thread: decode, resize, run and rank."""
    artifact = read_artifact(path)
    backend = choose_ways(Settings().backend, "cpu", "fp32").of(artifact.manifest)[0].open(artifact, 1)
    reading = Reading(MAX_PIXELS, find_resizer(resizer))

    def classify(data: bytes) -> list[Prediction]:
        pixels = preprocess(decode(data, MAX_PIXELS), artifact.manifest, reading)
        return rank(backend.run(pixels)[0], artifact.labels, 5)

    return classify


def top_labels(artifact: Path, images: Path) -> list[str]:
    """Return the most probable class of each image."""
    classify = classifier(artifact)
    return [classify((images / f"{place}.jpg").read_bytes())[0].label for place in range(IMAGES)]


def loop(artifact: Path, folder: Path, seconds: int, resizer: str) -> float:
    """Classify images sequentially for `seconds`; return images/s."""
    classify = classifier(artifact, resizer)
    images = [(folder / f"{place}.jpg").read_bytes() for place in range(IMAGES)]
    count = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        classify(images[count % IMAGES])
        count += 1
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    print(loop(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
