"""Contenders of `benchmarks.cpu`, and the process that runs one.

`python -m benchmarks.cpu_contenders NAME NETWORK DIR THREADS` reads batch sizes, one per line, runs a batch for each,
and prints its wall time and the CPU time of all threads, in seconds.

The service's backends run posbake's artifacts; stock exports run as their runtimes' documentation shows.
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

import service  # noqa: F401 -- disables OpenVINO's telemetry
from benchmarks.cpu_artifacts import artifact_folder, image_size, stock_graph

Run = Callable[[], object]
Open = Callable[[Path, str, int], Callable[[int], Run]]

GEMM = 1024
"""Rows, columns and depth of the matrix product that measures the peak: 2·1024³ operations."""

PRODUCTS = 16
"""Consecutive products, so that their matrices stay in the cache."""


@dataclass(frozen=True)
class Contender:
    """A way to run a network.

    Attributes:
        open: maps (`prepare`'s folder, network, number of threads) to a function that maps a batch size to a run of
            one batch; imports its runtime.
        precision: precision of most of its products, and of the peak that it is compared with.
    """

    open: Open
    precision: str


@dataclass(frozen=True)
class _Served:
    """posbake's artifact of a precision in one of the service's backends."""

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
    """Square matrix products: PyTorch in float32 (MKL) and bfloat16 (oneDNN), OpenVINO in int8."""

    precision: str

    def __call__(self, folder: Path, network: str, threads: int) -> Callable[[int], Run]:
        del folder, network
        return lambda _: _int8_products(threads) if self.precision == "int8" else _products(self.precision, threads)


def _products(precision: str, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    numbers = torch.randn(GEMM, GEMM, dtype=torch.float32 if precision == "fp32" else torch.bfloat16)
    return lambda: [torch.mm(numbers, numbers) for _ in range(PRODUCTS)]


def _int8_products(threads: int) -> Run:
    """Return OpenVINO's runs of a product of uint8 activations (quantised from float32) and int8 weights."""
    import openvino
    from onnx import TensorProto, helper, numpy_helper

    numbers = np.random.default_rng(0).integers(-127, 128, (GEMM, GEMM), np.int8)
    constants: list[np.ndarray[Any, Any]] = [np.array(1 / 64, np.float32), np.array(128, np.uint8), numbers]
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "scale", "zero"], ["units"]),
        helper.make_node("DequantizeLinear", ["units", "scale", "zero"], ["left"]),
        helper.make_node("DequantizeLinear", ["weights", "scale"], ["right"]),
        helper.make_node("MatMul", ["left", "right"], ["product"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (GEMM, GEMM)) for n in ("images", "product")]
    names = ("scale", "zero", "weights")
    initializers = [numpy_helper.from_array(array, name) for name, array in zip(names, constants, strict=True)]
    graph = helper.make_graph(nodes, "product", values[:1], values[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    infer, images = compiled.create_infer_request().infer, (numbers / 64).astype(np.float32)
    return lambda: [infer({0: images}, share_inputs=True) for _ in range(PRODUCTS)]


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
"""Contenders by name, the baseline first; ONNX Runtime has no bfloat16 CPU kernels."""

PEAKS: Mapping[str, Contender] = {name: Contender(_Product(name), name) for name in ("fp32", "bf16", "int8")}
"""Products that measure the machine's peak, by precision."""


def main() -> None:
    """Run a batch for each line of stdin; the first of each size has a warm-up run."""
    name, network, folder, threads = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # runtimes may print to stdout
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
