"""`python -m benchmarks.trained`: cost of bf16, fp16 and int8 for a trained network, on each CPU backend.

The network is DINOv2 ViT-S/14 with a linear head for Fashion-MNIST, at 112×112 pixels. int8 needs a trained network,
because random weights have neither outlier channels nor well-separated classes. Features for the head are the logits of
an exported network whose head is the identity; images are read and run as in `service.offline`.

Agreement and cosine are relative to the fp32 graph in ONNX Runtime. Times are CPU times at batch 8 on one thread,
interleaved over the precisions of a backend.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from artifact import Artifact, Location, Manifest, read_artifact
from benchmarks.trained_backbone import NETWORK, State, backbone
from benchmarks.trained_images import DATA, LABELS, write_images
from examples.digits.train import machine
from export.to_onnx import main as export
from export.verify.parity import cosine
from service.backends import choose_ways
from service.backends.base import Backend
from service.backends.warming import blank
from service.catalogue.loading import Loader
from service.offline.files import image_files
from service.offline.running import Result, running
from service.offline.statistics import mcnemar, wilson
from service.offline.stopping import Stopping
from service.problems.errors import ServiceError
from service.settings import Settings

MODEL, IMAGE_SIZE = "fashion", 112
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
BACKENDS = ("onnxruntime", "openvino")
TRAINING, CALIBRATION, HELD_OUT, ALL = 8000, 256, 2000, 10_000
"""Numbers of images; those for calibration follow those for training."""
_BATCH = 8
_PART = 1000
"""Number of images whose logits are stored in one file."""
_PATIENCE = 3_600_000
"""Time limit of a run or decode in ms; long, as a busy machine can delay either for minutes."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """Logits of one graph in one backend, and the CPU time of its runs."""

    logits: Array
    ran: str
    milliseconds: float


def main() -> int:
    """Prepare what the cache lacks, export, run, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trained", description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="folder of weights, images, head and artifacts")
    parser.add_argument("--data", type=Path, default=DATA, help=f"Fashion-MNIST; default: {DATA}")
    parser.add_argument(
        "--pictures", type=int, default=HELD_OUT, help=f"number of held-out images; default: {HELD_OUT:,}"
    )
    parser.add_argument("--full", action="store_const", dest="pictures", const=ALL, help=f"all {ALL:,} held-out images")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--runs", type=int, default=9, help="timed runs per graph")
    options = parser.parse_args()
    if not options.data.is_dir():
        parser.error(f"{options.data} not found; apt-get install dataset-fashion-mnist, or pass --data")
    cache: Path = options.cache
    cache.mkdir(parents=True, exist_ok=True)
    checkpoint = cache / f"{NETWORK}-fashion.safetensors"
    if not checkpoint.exists():
        weights = backbone(cache)
        save_file(weights | train(weights, options.data, cache), checkpoint)
    write_images(options.data, "train", TRAINING, CALIBRATION, cache / "calibration")
    labels = write_images(options.data, "t10k", 0, options.pictures, cache / "held-out")
    wanted = list(dict.fromkeys(["fp32", *options.precisions]))
    exported = {each: export_network(checkpoint, cache, each) for each in wanted}
    found = measure(exported, cache / "held-out", len(labels), options.runs)
    print_table(found, labels)
    return 0


def train(weights: State, data: Path, cache: Path) -> State:
    """Return a head trained on features of the class token: logistic regression, L-BFGS, weight decay."""
    labels = torch.from_numpy(write_images(data, "train", 0, TRAINING, cache / "train"))
    stored = cache / "features.npy"
    if not stored.exists():
        width = weights["cls_token"].shape[-1]
        identity = {"head.weight": torch.eye(width), "head.bias": torch.zeros(width)}
        checkpoint = cache / "features.safetensors"
        save_file(weights | identity, checkpoint)
        _export(checkpoint, cache / "artifacts", "--model", "features", "--variant", "fp32")
        location = Location("features", "fp32", "1", cache / "artifacts/features/fp32/1")
        np.save(stored, run_all(location, "onnxruntime", cache / "train", 0, TRAINING))
    features = torch.from_numpy(np.load(stored))
    head = torch.nn.Linear(features.shape[1], len(LABELS))
    torch.nn.init.zeros_(head.weight)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(features), labels) + 1e-4 * head.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return {f"head.{name}": tensor.detach().clone() for name, tensor in head.named_parameters()}


def export_network(checkpoint: Path, cache: Path, precision: str) -> Location:
    """Export the network with `to_onnx.py`, unless the cache has it."""
    labels = cache / "labels.txt"
    labels.write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    more = ["--model", MODEL, "--variant", precision, "--labels", str(labels), "--precision", precision]
    if precision != "fp32":
        more += ["--calibration", str(cache / "calibration"), "--min-cosine", "0", "--min-agreement", "0"]
    place = cache / "artifacts" / MODEL / precision / "1"
    if not place.exists():
        _export(checkpoint, cache / "artifacts", *more)
    return Location(MODEL, precision, "1", place)


def _export(checkpoint: Path, repository: Path, *more: str) -> None:
    sizes = ["--trained-image-size", "518", "--image-size", str(IMAGE_SIZE)]
    source = [f"timm:{NETWORK}", "--checkpoint", str(checkpoint), *sizes]
    if export([*source, "--output", str(repository), "--quiet", *more]):
        raise SystemExit("the export failed")


def measure(
    exported: dict[str, Location], pictures: Path, count: int, runs: int
) -> dict[tuple[str, str], Found | ServiceError]:
    """Return the results of each graph in each backend, or the error if it does not run."""
    found: dict[tuple[str, str], Found | ServiceError] = {}
    for backend in BACKENDS:
        logits: dict[str, Array] = {}
        for precision, location in exported.items():
            try:
                logits[precision] = stored_logits(location, backend, pictures, count)
            except ServiceError as error:
                found[backend, precision] = error
        artifacts = {each: read_artifact(exported[each].path) for each in logits}
        opened = {each: open_backend(artifact, backend) for each, artifact in artifacts.items()}
        times = interleaved(list(opened.values()), artifacts["fp32"].manifest, _BATCH, runs)
        for (precision, ran), milliseconds in zip(opened.items(), times, strict=True):
            found[backend, precision] = Found(logits[precision], ran.precision, milliseconds)
    return found


def stored_logits(location: Location, backend: str, pictures: Path, count: int) -> Array:
    """Return the logits [count, classes] of `run_all`, cached in files beside the images.

    Seven graphs take half an hour of CPU time for 10,000 images, so logits of earlier runs are reused.
    """
    graph = read_artifact(location.path).manifest.files["model.onnx"].sha256[:16]
    folder = pictures.parent / "logits" / f"{graph}-{backend}-{version(backend)}"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for first in range(0, count, _PART):
        stored = folder / f"{first}-{min(first + _PART, count)}.npy"
        if not stored.exists():
            logits = run_all(location, backend, pictures, first, min(_PART, count - first))
            with (unfinished := stored.with_suffix(".part")).open("wb") as file:
                np.save(file, logits)
            unfinished.rename(stored)
        found.append(np.load(stored))
    return np.concatenate(found)


def run_all(location: Location, backend: str, pictures: Path, first: int, count: int) -> Array:
    """Return the logits [count, classes] of images in a folder, read and run as in `service.offline`."""
    settings = Settings(backend=backend, device="cpu", backend_timeout_ms=_PATIENCE, decode_timeout_ms=_PATIENCE)
    servable = Loader(settings).open(location)
    try:
        with running(servable, settings) as runner:
            files = islice(image_files([pictures]), first, first + count)
            return np.stack(list(runner.run(files, _output_of, Stopping())))
    finally:
        servable.backend.close()


def _output_of(result: Result) -> Array:
    if result.output is None:
        raise RuntimeError(f"{result.file.path} has no prediction: {result.error}")
    return result.output


def open_backend(artifact: Artifact, name: str) -> Backend:
    """Open a backend with one thread."""
    return choose_ways(name, "cpu", "fp32").of(artifact.manifest)[0].open(artifact, 1)


def interleaved(backends: Sequence[Backend], manifest: Manifest, batch: int, runs: int) -> list[float]:
    """Return each backend's median CPU time in ms per image, interleaved."""
    images = blank(manifest, batch)
    times: list[list[float]] = [[] for _ in backends]
    for _ in range(runs + 1):
        for backend, taken in zip(backends, times, strict=True):
            start = time.process_time()
            backend.run(images)
            taken.append(1000 * (time.process_time() - start) / batch)
    return [statistics.median(taken[1:]) for taken in times]


def print_table(found: dict[tuple[str, str], Found | ServiceError], labels: NDArray[np.int64]) -> None:
    """Print a row for each backend and precision."""
    versions = f"ONNX Runtime {version('onnxruntime')}, OpenVINO {version('openvino')}"
    print(f"{datetime.now(UTC).date()}, {machine()}, {versions}, {len(labels):,} images\n")
    print(
        "| backend | precision | runs in | top-1 | 95 % interval | drop from fp32, points, ± 95 % | p | agreement "
        "| cosine, mean | min | CPU ms |"
    )
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    reference = found[BACKENDS[0], "fp32"]
    assert isinstance(reference, Found), reference
    for (backend, precision), one in found.items():
        if isinstance(one, ServiceError):
            print(f"| {backend} | {precision} | does not run: {one} |")
        else:
            print(f"| {backend} | {precision} | {one.ran} | {_figures(one, reference, labels)} |")


def drop_of(won: int, lost: int, count: int) -> tuple[float, float]:
    """Return the drop of top-1 in percentage points, and the half width of its 95 % interval.

    Args:
        won: number of images that are correct now, and were wrong before.
        lost: number of images that are wrong now, and were correct before.
        count: number of all images.
    """
    variance = won + lost - (won - lost) ** 2 / count
    return 100 * (lost - won) / count, 100 * 1.96 * math.sqrt(variance) / count


def _figures(one: Found, reference: Found, labels: NDArray[np.int64]) -> str:
    predicted, expected = one.logits.argmax(axis=1), reference.logits.argmax(axis=1)
    right, before = predicted == labels, expected == labels
    lowest, highest = wilson(int(right.sum()), len(labels))
    won, lost = int((right & ~before).sum()), int((before & ~right).sum())
    drop, margin = drop_of(won, lost, len(labels))
    near = cosine(reference.logits, one.logits)
    return (
        f"{right.mean():.2%} | {lowest:.2%} to {highest:.2%} | {drop:.2f} ± {margin:.2f} | "
        f"{mcnemar(won, lost):.2f} | "
        f"{(predicted == expected).mean():.2%} | {near.mean():.5f} | {near.min():.4f} | {one.milliseconds:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
