"""The in-process limit of `benchmarks.serving`: the service's stages in a loop, a process a core, without any HTTP."""

import subprocess
import sys
import time
from pathlib import Path

from artifact import read_artifact
from benchmarks.serving_inputs import IMAGES, ROOT
from service.backends.onnx_runtime import OnnxRuntimeBackend
from service.inputs.images import decode
from service.inputs.preprocess import preprocess
from service.ranking import rank
from service.scheduling.cores import available_cores

MAX_PIXELS = 50_000_000


def limit(artifact: Path, images: Path, seconds: int) -> float:
    """Return images a second of the bare stages over all cores."""
    command = [sys.executable, "-m", "benchmarks.serving_limit", str(artifact), str(images), str(seconds)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)  # noqa: S603
        for _ in range(available_cores())
    ]
    return sum(float(process.communicate()[0]) for process in processes)


def loop(artifact_path: Path, folder: Path, seconds: int) -> float:
    """Decode, resize, run and rank for so long, one image after the other on one thread; return images a second."""
    artifact = read_artifact(artifact_path)
    backend = OnnxRuntimeBackend(artifact, "cpu", 1)
    images = [(folder / f"{place}.jpg").read_bytes() for place in range(IMAGES)]
    count = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        image = decode(images[count % IMAGES], MAX_PIXELS)
        rank(backend.run(preprocess(image, artifact.manifest, MAX_PIXELS))[0], artifact.labels, 5)
        count += 1
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    print(loop(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
