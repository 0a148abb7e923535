"""`python -m benchmarks.saturation`: int8 with and without the settings of engines.saturation, and fp32, on this CPU.

The settings have no effect on CPUs with VNNI instructions. The error is that of the golden images' logits; weights are
random, and images synthetic. Times are interleaved medians at batch 1.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
from numpy.typing import NDArray

from benchmarks.cpu_artifacts import artifact_folder, prepare
from engines.saturation import EXACT_INT8_IN_ONNX_RUNTIME, exact_int8_in_openvino, int8_saturates
from examples.digits.train import machine
from export.verify.parity import cosine

Run = Callable[[NDArray[Any]], NDArray[np.float32]]


def main() -> int:
    """Export what the cache lacks, run, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saturation", description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="folder of artifacts; existing ones are reused")
    parser.add_argument("--network", default="swin_tiny_patch4_window7_224", help="timm name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    prepare(options.cache, options.network, "portable")
    runs: dict[str, Run] = {}
    for precision in ("fp32", "int8"):
        graph = artifact_folder(options.cache, options.network, precision) / "model.onnx"
        for exact in (False, True) if precision == "int8" else (False,):
            suffix = f"{precision}{', exact' if exact else ''}"
            runs[f"ONNX Runtime {suffix}"] = _onnx_runtime(graph, options.threads, exact=exact)
            runs[f"OpenVINO {suffix}"] = _openvino(graph, options.threads, exact=exact)
    with np.load(artifact_folder(options.cache, options.network, "fp32") / "golden.npz") as golden:
        pixels, logits = golden["pixels"], golden["logits"]
    errors = {name: float((1 - cosine(logits, run(pixels))).max()) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.runs):
        for name, run in runs.items():
            start = time.perf_counter()
            run(pixels[:1])
            times[name].append(1000 * (time.perf_counter() - start))
    saturates = "saturate" if int8_saturates() else "do not saturate"
    print(f"{datetime.now(UTC).date()}, {machine()}, `{options.network}`; int8 products {saturates} on this CPU\n")
    print("| runtime | largest 1 − cosine | ms |\n| --- | ---: | ---: |")
    for name, error in errors.items():
        print(f"| {name} | {error:.1e} | {statistics.median(times[name]):.1f} |")
    return 0


def _onnx_runtime(graph: Path, threads: int, *, exact: bool) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # would disturb the next run
    if exact:
        options.add_session_config_entry(*EXACT_INT8_IN_ONNX_RUNTIME)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"image": images})[0]


def _openvino(graph: Path, threads: int, *, exact: bool) -> Run:
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    model = core.read_model(graph)
    model.reshape([1, *(side.get_length() for side in list(model.input().partial_shape)[1:])])
    compiled = core.compile_model(model, "CPU", settings | (exact_int8_in_openvino() if exact else {}))
    request = compiled.create_infer_request()
    return lambda images: np.concatenate([request.infer({0: image[None]})[0].copy() for image in images])


if __name__ == "__main__":
    sys.exit(main())
