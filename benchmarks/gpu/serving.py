"""The service on the device: predictions, batching, hot reload, draining, and throughput."""

import base64
import http.client
import io
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from artifact import read_artifact
from artifact.manifest import MANIFEST_NAME
from benchmarks.gpu.golden import artifact_of, open_runtime
from benchmarks.gpu.http_load import GENERATORS, loaded, post, send_all
from benchmarks.gpu.part import Emit, FailedError, Row, Settings, name_of, needed, nvml
from benchmarks.service_process import Service, served

VARIANT = "swin-table"
"""Variant for the load test, hot reload and draining."""

CHUNK = 8
LEAST_TOP1 = 0.9
"""Minimum top-1 of a variant without accuracy in its manifest."""

_PATIENCE = 30.0


def check(settings: Settings, emit: Emit) -> None:
    """Classify with every variant, then apply load, and hot-reload and stop the service under it."""
    open_runtime(settings)
    needed("sklearn", "install scikit-learn, which includes the digits")
    from examples.digits.data import load_split

    _, test = load_split()
    count = min(settings.images, len(test.labels))
    images = [_png(pixels) for pixels in test.images[:count]]
    repository = Path(settings.output, "served")
    shutil.rmtree(repository, ignore_errors=True)
    shutil.copytree(settings.digits, repository)
    with _service(settings, repository) as service:
        emit(Row("start", {"seconds": round(service.started_in, 1)}))
        for variant in sorted(path.name for path in (repository / "digits").iterdir()):
            emit(_classify(service, variant, images, test.labels[:count], repository, settings.device))
        path = f"/v1/classify?variant={VARIANT}"
        clients = max(settings.clients)
        with loaded(service.port, path, images, clients) as load:
            time.sleep(settings.seconds)
        sizes = [int(answer["batch_size"]) for answer in load.answers]
        figures = {"clients": clients, "answers": load.statuses[200], "failed": load.failed}
        mean, largest = round(float(np.mean(sizes or [0])), 2), max(sizes, default=0)
        together = largest > 1 or clients == 1 or settings.device == "cpu"  # on a CPU each image may run alone
        emit(Row("batching", {**figures, "mean batch": mean, "largest": largest}, ok=not load.failed and together))
        with loaded(service.port, path, images, clients) as load:
            _add_version(repository, Path(settings.output, "new"))
            taken = _until(lambda: load.answers[-1:] and load.answers[-1]["version"] == 2)
        figures = {"clients": clients, "answers": load.statuses[200], "failed": load.failed}
        emit(Row("reload", {**figures, "seconds": round(taken, 2)}, ok=not load.failed))
        with loaded(service.port, path, images, clients) as load:
            _until(lambda: load.statuses[200] >= clients)
            start = time.monotonic()
            status = service.stop(signal.SIGTERM)
        figures = {"clients": clients, "answers": load.statuses[200], "failed": load.broken}
        others = set(load.statuses) - {200, 503}
        well = status == 0 and not load.broken and not others and not service.tracebacks()
        emit(Row("drain", {**figures, "seconds": round(time.monotonic() - start, 2), "exit status": status}, ok=well))


def clients(settings: Settings, emit: Emit) -> None:
    """Measure throughput for each network, number of the service's processes, and number of clients."""
    open_runtime(settings)
    pictures = [_photograph(seed) for seed in range(8)]
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(GENERATORS, get_context("spawn")) as generators:
        for source, processes in product(settings.networks, sorted({1, max(1, cores // 4)})):
            artifact = artifact_of(settings, source)
            repository = artifact.path.parents[2]
            with _service(settings, repository, "--processes", str(processes)) as service:
                path = f"/v1/classify?model={artifact.manifest.model}&variant={artifact.manifest.variant}&top_k=1"
                for count in settings.clients:
                    send_all(generators, service.port, path, pictures, count, settings.seconds / 4)
                    with _utilisation(settings) as busy:
                        load = send_all(generators, service.port, path, pictures, count, settings.seconds)
                    sizes = [int(answer["batch_size"]) for answer in load.answers]
                    figures = {
                        "processes": processes,
                        "clients": count,
                        "images/s": round(load.statuses[200] / settings.seconds, 1),
                        "p50 ms": round(load.median, 2),
                        "p99 ms": round(load.p99, 2),
                        "mean batch": round(float(np.mean(sizes or [0])), 2),
                        "failed": load.failed,
                        "GPU busy %": round(float(np.mean(busy)), 1) if busy else "–",
                    }
                    emit(Row(name_of(source), figures, ok=not load.failed and load.statuses[200] > 0))


@contextmanager
def _service(settings: Settings, repository: Path, *flags: str) -> Iterator[Service]:
    fixed = ("--backend", "onnxruntime", "--device", settings.device, "--reload-seconds", "0.5", "--max-batch", "32")
    with served(repository, Path(settings.output, "service.log"), *fixed, *flags) as service:
        yield service


def _classify(
    service: Service, variant: str, images: Sequence[bytes], labels: NDArray[np.int64], repository: Path, device: str
) -> Row:
    """Return a row with a variant's top-1 over HTTP and in its manifest."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=_PATIENCE)
    found: list[int] = []
    for start in range(0, len(images), CHUNK):
        files = [base64.b64encode(file).decode() for file in images[start : start + CHUNK]]
        tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [len(files)], "data": files}
        body = json.dumps({"inputs": [tensor]}).encode()
        status, answer = post(connection, f"/v2/models/digits@{variant}/infer", body, "application/json")
        if status != 200:
            return Row(variant, {"found": f"{status}: {answer}"}, ok=False)
        (output,) = answer["outputs"]
        found += np.reshape(output["data"], output["shape"]).argmax(axis=1).tolist()
    _, single = post(connection, f"/v1/classify?variant={variant}", images[0], "image/png")
    connection.close()
    top1 = float(np.mean(np.array(found) == np.array(labels)))
    stated = read_artifact(repository / "digits" / variant / "1").manifest.accuracy
    figures: dict[str, float | int | str] = {
        "top-1": round(top1, 4),
        "images": len(images),
        "backend": str(single.get("backend")),
    }
    well = single.get("backend") == f"onnxruntime-{device}"
    if stated is not None:
        figures["stated"] = round(stated.top1, 4)
    whole = stated is not None and stated.count == len(images)
    agrees = abs(top1 - stated.top1) < 1.5 / stated.count if stated is not None and whole else top1 >= LEAST_TOP1
    return Row(variant, figures, ok=well and agrees)


def _add_version(repository: Path, staging: Path) -> None:
    """Publish version 2 of the loaded variant by one rename."""
    shutil.rmtree(staging, ignore_errors=True)
    versions = repository / "digits" / VARIANT
    shutil.copytree(versions / "1", staging)
    manifest = json.loads((staging / MANIFEST_NAME).read_text())
    (staging / MANIFEST_NAME).write_text(json.dumps({**manifest, "version": 2}))
    staging.rename(versions / "2")


def _until(holds: Callable[[], object]) -> float:
    """Wait for a condition and return the seconds it took. Raises FailedError after a time limit."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() > start + _PATIENCE:
            raise FailedError(f"no change within {_PATIENCE:g} s; see service.log")
        time.sleep(0.02)
    return time.monotonic() - start


@contextmanager
def _utilisation(settings: Settings) -> Iterator[list[int]]:
    """Sample the first GPU's utilisation in percent until the block ends; no samples without NVML."""
    samples: list[int] = []
    library = nvml() if settings.device == "cuda" else None
    if library is None:
        yield samples
        return
    device = library.nvmlDeviceGetHandleByIndex(0)
    end = threading.Event()

    def sample() -> None:
        while not end.wait(0.1):
            samples.append(int(library.nvmlDeviceGetUtilizationRates(device).gpu))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        end.set()
        thread.join()


def _png(pixels: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, format="PNG")
    return file.getvalue()


def _photograph(seed: int) -> bytes:
    """Return a smooth JPEG of 500×375 pixels, about as compressible as a photograph."""
    small = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC).save(file, format="JPEG", quality=90)
    return file.getvalue()
