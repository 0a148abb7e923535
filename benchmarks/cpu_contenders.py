"""Contenders of `benchmarks.cpu`, and the process of a contender, which runs batches on request.

`python -m benchmarks.cpu_contenders NAME NETWORK DIR THREADS` reads lines with a number of images, runs a batch of
this size for each, and writes the seconds of wall and of CPU time, of all threads.

posbake's artifacts are run by the service's backends; stock exports as their runtimes' documentation does.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import service  # noqa: F401 -- keeps OpenVINO's telemetry out
from benchmarks.cpu_artifacts import artifact_folder, image_size, stock_graph

Run = Callable[[], object]
Open = Callable[[Path, str, int], Callable[[int], Run]]

GEMM = 1024
"""Rows, columns and depth of the product that the peak is measured with: 2·1024³ operations."""


@dataclass(frozen=True)
class Contender:
    """A way to run a network.

    Attributes:
        open: gets `prepare`'s folder, a network and a number of threads, and imports its runtime; what it returns gets
            a number of images, and returns what runs a batch of them.
        precision: of most of its products, whose peak it is compared with.
    """

    open: Open
    precision: str


@dataclass(frozen=True)
class _Served:
    """An artifact of a precision in one of the service's backends."""

    backend: str
    precision: str

    def __call__(self, folder: Path, network: str, threads: int) -> Callable[[int], Run]:
        from artifact import read_artifact
        from service.backends import choose_ways
        from service.backends.warming import blank

        artifact = read_artifact(artifact_folder(folder, network, self.precision))
        backend = choose_ways(self.backend, "cpu", "fp32").of(artifact.manifest)[0].open(artifact, threads)
        return lambda batch: partial(backend.run, blank(artifact.manifest, batch))


@dataclass(frozen=True)
class _Product:
    """A square product in PyTorch, by MKL in float32 and oneDNN in bfloat16 and int8."""

    precision: str

    def __call__(self, folder: Path, network: str, threads: int) -> Callable[[int], Run]:
        del folder, network
        import torch

        torch.set_num_threads(threads)
        numbers = torch.randn(GEMM, GEMM)
        if self.precision == "int8":
            units = (20 * numbers).clamp(-127, 127).to(torch.int8)
            return lambda _: partial(torch._int_mm, units, units)
        factor = numbers if self.precision == "fp32" else numbers.bfloat16()
        return lambda _: partial(torch.mm, factor, factor)


def _images(folder: Path, network: str, batch: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    shape = (batch, 3, *image_size(folder, network))
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _stock_onnx_runtime(folder: Path, network: str, threads: int) -> Callable[[int], Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    graph = stock_graph(folder, network)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda batch: partial(session.run, None, {"image": _images(folder, network, batch)})


def _stock_openvino(folder: Path, network: str, threads: int) -> Callable[[int], Run]:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}

    def compiled(batch: int) -> Run:
        model, images = core.read_model(stock_graph(folder, network)), _images(folder, network, batch)
        model.reshape(list(images.shape))
        return partial(core.compile_model(model, "CPU", settings).create_infer_request().infer, {0: images})

    return compiled


def _compiled(folder: Path, network: str, threads: int) -> Callable[[int], Run]:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    os.environ["TORCHINDUCTOR_FREEZING"] = "1"  # weights packed once, as the runtimes do
    import torch

    from benchmarks.zoo_networks import library_module

    torch.set_num_threads(threads)
    compiled = torch.compile(library_module(f"timm:{network}"), dynamic=False)

    def run(images: torch.Tensor) -> object:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return compiled(images)

    return lambda batch: partial(run, torch.from_numpy(_images(folder, network, batch)))


CONTENDERS: Mapping[str, Contender] = {
    "stock, ONNX Runtime fp32": Contender(_stock_onnx_runtime, "fp32"),
    "stock, OpenVINO bf16": Contender(_stock_openvino, "bf16"),
    "torch.compile, inductor bf16": Contender(_compiled, "bf16"),
    "posbake, ONNX Runtime fp32": Contender(_Served("onnxruntime", "fp32"), "fp32"),
    "posbake, ONNX Runtime int8": Contender(_Served("onnxruntime", "int8"), "int8"),
    "posbake, OpenVINO fp32": Contender(_Served("openvino", "fp32"), "fp32"),
    "posbake, OpenVINO bf16": Contender(_Served("openvino", "bf16"), "bf16"),
    "posbake, OpenVINO int8": Contender(_Served("openvino", "int8"), "int8"),
}
"""By name, the baseline first. ONNX Runtime has no bfloat16 kernels on the CPU."""

PEAKS: Mapping[str, Contender] = {name: Contender(_Product(name), name) for name in ("fp32", "bf16", "int8")}
"""Products that the machine's peak is measured with, by precision."""


def main() -> None:
    """Run batches as long as there are lines on standard input; the first of each size is run twice."""
    name, network, folder, threads = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a runtime prints is no answer
    open_batch = {**CONTENDERS, **PEAKS}[name].open(Path(folder), network, int(threads))
    opened: dict[int, Run] = {}
    for line in sys.stdin:
        batch = int(line)
        if batch not in opened:
            opened[batch] = open_batch(batch)
            opened[batch]()
        wall, cpu = time.perf_counter(), time.process_time()
        opened[batch]()
        print(time.perf_counter() - wall, time.process_time() - cpu, file=answers, flush=True)


if __name__ == "__main__":
    main()
