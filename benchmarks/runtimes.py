"""Runtimes for timing graphs: ONNX Runtime, and OpenVINO if installed."""

import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Images = NDArray[np.float32]
Run = Callable[[Images], object]


def installed() -> dict[str, str]:
    """Return the versions of the installed runtimes by name."""
    found = {"ONNX Runtime": ort.__version__}
    try:
        found["OpenVINO"] = version("openvino")
    except PackageNotFoundError:
        return found
    return found


def open_runners(runtime: str, graphs: Sequence[Path], threads: int) -> list[Run]:
    """Return a float32 CPU run function for each graph."""
    return [(_openvino if runtime == "OpenVINO" else _onnx_runtime)(graph, threads) for graph in graphs]


def interleaved_medians(runners: Sequence[Run], batch: int, image_size: Sequence[int], runs: int) -> list[float]:
    """Return each runner's median time in ms over `runs` interleaved runs, after two warm-up runs."""
    images = np.random.default_rng(0).normal(size=(batch, 3, *image_size)).astype(np.float32)
    times: list[list[float]] = [[] for _ in runners]
    for number in range(runs + 2):
        for run, taken in zip(runners, times, strict=True):
            start = time.perf_counter()
            run(images)
            if number >= 2:
                taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]


def _onnx_runtime(graph: Path, threads: int) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"image": images})


def _openvino(graph: Path, threads: int) -> Run:
    import openvino  # optional

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    return lambda images: request.infer({0: images})
