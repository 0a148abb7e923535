"""`python -m benchmarks.int8_parts --artifacts DIR`: ablation of an int8 graph in OpenVINO, and equivalent forms.

The artifacts are those of `benchmarks.cpu`. Ablations remove a part to measure its cost, and yield wrong logits;
equivalent forms differ in rounding only. Figures are ratios of CPU time, original over changed graph (above 1, the
changed graph is faster), on one thread, one image at a time as in the service. `again` is the original graph measured
twice: its distance from 1 is the measurement error.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx_ir as ir
import openvino
from onnx_ir.passes import common

import service  # noqa: F401 -- disables OpenVINO's telemetry
from artifact import read_artifact
from benchmarks.cpu import NETWORKS
from benchmarks.cpu_artifacts import artifact_folder, prepare
from examples.digits.train import machine
from export.passes.values import add_constant, array_of, input_of, is_constant, name_of, only_use
from imaging.preprocess import Tensor
from service.backends.warming import blank

_STEP = np.float32(0.03)
"""Scale of added Q/DQ pairs; time does not depend on it."""


def _remove(node: ir.Node) -> None:
    node.outputs[0].replace_all_uses_with(input_of(node, 0))


def without(operator: str) -> Callable[[ir.Model], None]:
    """Return a change that replaces all nodes of an operator by their first input."""

    def remove(model: ir.Model) -> None:
        for node in list(model.graph):
            if node.op_type == operator:
                _remove(node)

    return remove


def without_smoothing(model: ir.Model) -> None:
    """Remove the Muls of smoothing that no norm absorbs."""
    for node in list(model.graph):
        if node.op_type == "Mul" and (name_of(input_of(node, 1))).endswith("_smoothing"):
            _remove(node)


def without_token_orders(model: ir.Model) -> None:
    """Remove the Gathers that permute tokens."""
    for node in list(model.graph):
        if node.op_type == "Gather" and input_of(node, 0).shape == node.outputs[0].shape:
            _remove(node)


def without_attention(model: ir.Model) -> None:
    """Replace attention by its values, as if each token attended to itself only."""
    for node in list(model.graph):
        use = only_use(node.outputs[0]) if node.op_type == "Softmax" else None
        if use is not None and input_of(use[0], 1).shape == use[0].outputs[0].shape:
            use[0].outputs[0].replace_all_uses_with(input_of(use[0], 1))


def rectified(model: ir.Model) -> None:
    """Replace GELU by ReLU, the cheapest activation."""
    for node in list(model.graph):
        if node.op_type == "Gelu":
            made = ir.node("Relu", [input_of(node, 0)])
            model.graph.insert_before(node, made)
            node.outputs[0].replace_all_uses_with(made.outputs[0])


def quantised_heads(model: ir.Model) -> None:
    """Quantise the output of packed QKV, so that attention's products run in int8, except for softmax's output."""
    for split in list(model.graph):
        value = split.inputs[0] if split.op_type == "Split" else None
        while value is not None and (node := value.producer()) is not None and node.op_type in ("Transpose", "Reshape"):
            value = input_of(node, 0)
        if value is None or (node := value.producer()) is None or node.op_type != "Add":
            continue
        (reader, place) = next(iter(value.uses()))
        scale = add_constant(model, np.asarray(_STEP), f"{name_of(value)}_step")
        zero = add_constant(model, np.array(0, np.int8), f"{name_of(value)}_zero")
        quantise = ir.node("QuantizeLinear", [value, scale, zero])
        pair = ir.node("DequantizeLinear", [quantise.outputs[0], scale, zero])
        model.graph.insert_before(reader, [quantise, pair])
        reader.replace_input_with(place, pair.outputs[0])


def quantised_before_joining(model: ir.Model) -> None:
    """Quantise attention's output before its heads are joined, without smoothing, which v's weights could absorb."""
    for softmax in list(model.graph):
        use = only_use(softmax.outputs[0]) if softmax.op_type == "Softmax" else None
        if use is None:
            continue
        start = use[0].outputs[0]
        chain, node = [], use[0]
        while (after := only_use(node.outputs[0])) is not None and after[0].op_type in ("Transpose", "Reshape", "Mul"):
            node = after[0]
            chain.append(node)
        last = only_use(node.outputs[0])
        if last is None or last[0].op_type != "QuantizeLinear" or not chain:
            continue
        quantise = last[0]
        (pair, _) = next(iter(quantise.outputs[0].uses()))
        for each in chain:
            if each.op_type == "Mul":
                _remove(each)
        end = input_of(quantise, 0)
        pair.outputs[0].replace_all_uses_with(end)
        first = next(each for each in chain if each.op_type != "Mul")
        moved = ir.node("QuantizeLinear", [start, *quantise.inputs[1:]])
        back = ir.node("DequantizeLinear", [moved.outputs[0], *pair.inputs[1:]])
        model.graph.insert_before(first, [moved, back])
        first.replace_input_with(0, back.outputs[0])


def products_apart(model: ir.Model) -> None:
    """Compute q, k and v by one product each: no Split, and transpositions that OpenVINO fuses into attention."""
    for split in list(model.graph):
        if split.op_type != "Split" or len(split.outputs) != 3:
            continue
        views: list[ir.Node] = []
        value = input_of(split, 0)
        while (node := value.producer()) is not None and node.op_type in ("Transpose", "Reshape"):
            views.insert(0, node)
            value = input_of(node, 0)
        if node is None or node.op_type != "Add" or not is_constant(node.inputs[1]):
            continue
        product = input_of(node, 0).producer()
        assert product is not None, "a bias is added to a product"
        weight = input_of(product, 1).producer()
        assert weight is not None, "its weight is dequantised"
        parts = [np.split(array_of(constant), 3, -1) for constant in (*weight.inputs, node.inputs[1]) if constant]
        for number, output in enumerate(split.outputs):
            *scaled, bias = [add_constant(model, part[number].copy(), f"{name_of(output)}_part") for part in parts]
            read = ir.node("DequantizeLinear", scaled, {"axis": 1})
            own = ir.node("MatMul", [input_of(product, 0), read.outputs[0]])
            made = [read, own, ir.node("Add", [own.outputs[0], bias])]
            for view in views:
                made.append(_third(model, view, made[-1].outputs[0]))
            model.graph.insert_before(split, made)
            output.replace_all_uses_with(made[-1].outputs[0])


def _third(model: ir.Model, view: ir.Node, value: ir.Value) -> ir.Node:
    """Return `view` applied to a third of its input: in its shape, 3·H heads become H."""
    if view.op_type == "Transpose":
        return ir.node("Transpose", [value], {"perm": list(view.attributes.get_ints("perm"))})
    sizes = array_of(input_of(view, 1)).copy()
    sizes[-2] //= 3
    return ir.node("Reshape", [value, add_constant(model, sizes, f"{name_of(view.outputs[0])}_third")])


CHANGES: Mapping[str, Callable[[ir.Model], None]] = {
    "again": lambda _: None,
    "no attention": without_attention,
    "no softmax": without("Softmax"),
    "no norms": without("LayerNormalization"),
    "ReLU for GELU": rectified,
    "no smoothing Muls": without_smoothing,
    "no token orders": without_token_orders,
    "q, k, v in int8": quantised_heads,
    "quantised before heads are joined": quantised_before_joining,
    "q, k, v apart": products_apart,
}


def main() -> int:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8_parts", description=__doc__)
    parser.add_argument("--artifacts", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--networks", nargs="+", default=list(NETWORKS), metavar="NAME", help="timm names; default: all 3"
    )
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    print(f"{datetime.now(UTC).date()}, {machine()}, OpenVINO {version('openvino')}, one thread\n")
    print(f"| network | CPU ms | {' | '.join(CHANGES)} |")
    print(f"| --- |{' ---: |' * (len(CHANGES) + 1)}")
    for network in options.networks:
        prepare(options.artifacts, network, "openvino")
        first, *others = measure(artifact_folder(options.artifacts, network, "int8"), options.runs)
        print(f"| `{network}` | {first:.1f} | {' | '.join(f'{first / other:.2f}' for other in others)} |", flush=True)
    return 0


def measure(place: Path, runs: int) -> list[float]:
    """Return the median CPU times in ms of an artifact's graph and of each changed graph."""
    artifact = read_artifact(place)
    image = blank(artifact.manifest, 1)
    with tempfile.TemporaryDirectory() as folder:
        requests = [_request(artifact.graph, image)]
        for change in CHANGES.values():
            model = ir.load(artifact.graph)
            change(model)
            common.RemoveUnusedNodesPass()(model)
            path = Path(folder) / "changed.onnx"
            ir.save(model, path)
            requests.append(_request(path, image))
    return medians(requests, image, runs)


def _request(graph: Path, image: Tensor) -> openvino.InferRequest:
    core = openvino.Core()
    model = core.read_model(graph)
    model.reshape(list(image.shape))
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
    request = core.compile_model(model, "CPU", settings | {"ENABLE_CPU_PINNING": False}).create_infer_request()
    request.infer({0: image})
    return request


def medians(requests: Sequence[openvino.InferRequest], image: Tensor, runs: int) -> list[float]:
    """Return each request's median CPU time in ms; the order is random in each round."""
    times: list[list[float]] = [[] for _ in requests]
    order, shuffle = list(range(len(requests))), random.Random(0)  # noqa: S311
    for _ in range(runs):
        shuffle.shuffle(order)
        for place in order:
            start = time.process_time()
            requests[place].infer({0: image})
            times[place].append(1000 * (time.process_time() - start))
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    sys.exit(main())
