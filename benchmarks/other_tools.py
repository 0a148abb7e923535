"""`python -m benchmarks.other_tools [SOURCE …]`: results of post-export tools on the zoo's graphs.

Each network has random weights and runs in its own process. The error is the largest difference between the logits of
the rewritten graph (or of OpenVINO) and of the exported graph in ONNX Runtime, relative to the largest logit, at
batches 1 and 3. With random weights int8 has a large error; its columns show whether the tool accepts the graph and
the result runs.

Requires `pip install onnxsim openvino`. OpenVINO computes in float32.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from artifact import Batch
from benchmarks.zoo_networks import CLASSES, NETWORKS
from examples.digits.train import machine
from export.passes.graph import build_graph
from export.tracing.pixels import ArtifactInput, Normalisation
from export.write.saving import save_graph
from models.sources import Overrides, RandomWeights, load_source
from models.sources.pictures import photographs

MANY = Batch(min=1, max=32)
OPSET, NEWEST = 20, 23
BATCHES = (1, 3)
Pixels = NDArray[np.uint8]


class Pictures(quantization.CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    """Calibration images, one at a time, for the input `image`."""

    def __init__(self, pixels: Pixels) -> None:
        self._left: Iterator[Pixels] = iter(pixels[:, None])

    def get_next(self) -> dict[str, Pixels] | None:
        """Return the next input."""
        picture = next(self._left, None)
        return None if picture is None else {"image": picture}


def dynamic_int8(graph: Path, rewritten: Path, _: Pixels) -> None:
    """Quantise weights to int8 with ONNX Runtime's quantize_dynamic."""
    quantization.quantize_dynamic(graph, rewritten)


def static_int8(graph: Path, rewritten: Path, pixels: Pixels) -> None:
    """Insert Q/DQ with ONNX Runtime's quantize_static, calibrated on images."""
    quantization.quantize_static(graph, rewritten, Pictures(pixels))


def pre_process(graph: Path, rewritten: Path, _: Pixels) -> None:
    """Preprocess for quantisation with ONNX Runtime's quant_pre_process and its symbolic shape inference."""
    quant_pre_process(str(graph), str(rewritten))


def newest_opset(graph: Path, rewritten: Path, _: Pixels) -> None:
    """Convert from opset 20 to 23 with onnx's version converter."""
    onnx.save(onnx.version_converter.convert_version(onnx.load(graph), NEWEST), rewritten)


def simplified(graph: Path, rewritten: Path, _: Pixels) -> None:
    """Simplify with onnxsim."""
    import onnxsim

    model, _checked = onnxsim.simplify(onnx.load(graph))
    onnx.save(model, rewritten)


REWRITES: dict[str, Callable[[Path, Path, Pixels], None]] = {
    "quantize_dynamic": dynamic_int8,
    "quantize_static": static_int8,
    "quant_pre_process": pre_process,
    "onnx to opset 23": newest_opset,
    "onnxsim": simplified,
}
OPENVINO = "OpenVINO"


def in_openvino(graph: Path, batches: list[Pixels]) -> NDArray[Any]:
    """Return OpenVINO's CPU logits of all batches, concatenated."""
    import openvino

    compiled = openvino.Core().compile_model(str(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled({"image": batch})["logits"] for batch in batches])


def in_onnx_runtime(graph: Path, batches: list[Pixels]) -> NDArray[Any]:
    """Return ONNX Runtime's CPU logits of all batches, concatenated."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["logits"], {"image": batch})[0] for batch in batches])


def try_tools(graph: Path, size: tuple[int, int]) -> dict[str, float | str]:
    """Return each tool's error for a graph with uint8 input, or one line with the reason of its failure."""
    pixels = photographs(8, size, 0).numpy()
    batches = [pixels[:batch] for batch in BATCHES]
    expected = in_onnx_runtime(graph, batches)
    found: dict[str, float | str] = {}
    logging.disable(logging.WARNING)  # advice of the quantisers
    with tempfile.TemporaryDirectory() as folder:
        for name in (*REWRITES, OPENVINO):
            try:
                if name == OPENVINO:
                    logits = in_openvino(graph, batches)
                else:
                    rewritten = Path(folder) / f"{name}.onnx"
                    REWRITES[name](graph, rewritten, pixels)
                    logits = in_onnx_runtime(rewritten, batches)
            except ModuleNotFoundError as error:
                found[name] = f"no {error.name}"
            except Exception as error:  # noqa: BLE001 -- any exception becomes the row
                found[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            else:
                assert logits.shape == expected.shape
                found[name] = float(np.abs(logits - expected).max() / np.abs(expected).max())
    logging.disable(logging.NOTSET)
    return found


def export(source: str, folder: Path) -> tuple[Path, tuple[int, int]]:
    """Export a network with random weights; return the graph's path and (height, width)."""
    loaded = load_source(source, RandomWeights(0), Overrides(num_classes=CLASSES))
    network = ArtifactInput(loaded.network, Normalisation(loaded.preprocess.mean, loaded.preprocess.std))
    example = torch.zeros(2, *loaded.image_size, 3, dtype=torch.uint8)
    graph = folder / "model.onnx"
    save_graph(build_graph(network, example, MANY, OPSET).model, graph)
    return graph, loaded.image_size


def main(arguments: list[str] | None = None) -> int:
    """Print a row for each network; return 1 if an installed tool failed on a graph."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.other_tools", description=__doc__)
    parser.add_argument("sources", nargs="*", default=NETWORKS, help="default: all of zoo_networks.py")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(try_tools(*export(options.sources[0], Path(folder)))))
        return 0
    tools = ", ".join(f"{tool} {_version(tool)}" for tool in ("onnx", "onnxruntime", "onnxsim", "openvino"))
    print(f"{datetime.now(UTC).date()}, {machine()}, {tools}\n")
    print(f"| network | {' | '.join((*REWRITES, OPENVINO))} |")
    print(f"| --- |{' ---: |' * (len(REWRITES) + 1)}")
    return max([_row(source) for source in options.sources], default=0)


def _row(source: str) -> int:
    """Print the row of a network, and return whether a tool failed."""
    command = [sys.executable, "-m", "benchmarks.other_tools", "--one", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- this script
    if done.returncode:
        print(f"| `{source}` | failed: {done.stderr.strip().rpartition(chr(10))[2]} |", flush=True)
        return 1
    found = json.loads(done.stdout.strip().rpartition("\n")[2])
    cells = [f"{error:.1e}" if isinstance(error, float) else error for error in found.values()]
    print(f"| `{source.rpartition(':')[2]}` | {' | '.join(cells)} |", flush=True)
    return int(any(isinstance(cell, str) and not cell.startswith("no ") for cell in found.values()))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
