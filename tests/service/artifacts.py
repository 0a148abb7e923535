"""Small real artifacts whose logits can be computed by hand: mean colour [3] times weights [3, C]."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from artifact import Activation, Draft, Manifest, stage

LABELS = ("red", "green", "blue", "grey")
WEIGHTS = np.array([[0.03, 0, 0, 0.01], [0, 0.03, 0, 0.01], [0, 0, 0.03, 0.01]], np.float32)  # [3, C]
Logits = Literal["finite", "nan", "unrunnable", "endless"]
"""Output of the network. "nan" and "endless" give finite logits, and end, on dark images only; "unrunnable" loads, and
fails at the first run."""

MEAN = (0.5, 0.4, 0.3)
STD = (0.2, 0.25, 0.3)

Network = tuple[Literal["uint8", "float32"], NDArray[np.float32], Logits, str, tuple[int, int], Activation]
"""Arguments of `_graph`."""

_written: dict[str, tuple[Manifest, dict[Path, bytes]]] = {}


def add_artifact(
    repository: Path,
    model: str = "colours",
    variant: str = "mean",
    version: int = 1,
    *,
    dtype: Literal["uint8", "float32"] = "uint8",
    weights: NDArray[np.float32] = WEIGHTS,
    top1: float | None = None,
    logits: Logits = "finite",
    output: str = "logits",
    size: tuple[int, int] = (8, 6),
    activation: Activation = "none",
    files: Mapping[str, bytes] = MappingProxyType({}),
    **changes: object,  # of the manifest
) -> Manifest:
    """Write an artifact of a network for images of `size` (height, width), and return its manifest.

    Equal artifacts are written once in each process, by the writer that exports use, and then copied, because the
    writer starts a process and waits for the disk.
    """
    network = (dtype, weights, logits, output, size, activation)
    described = (network[0], weights.tobytes(), weights.shape, *network[2:], top1, dict(files), changes)
    target = repository / model / variant / str(version)
    key = repr((model, variant, version, described))
    if key not in _written or target.exists():  # an existing target is the writer's error
        manifest = _write(target, network, top1, files, changes)
        contents = {file.relative_to(target): file.read_bytes() for file in target.rglob("*") if file.is_file()}
        _written[key] = manifest, contents
        return manifest
    manifest, contents = _written[key]
    hidden = target.with_name(f".{version}-{secrets.token_hex(8)}")
    for name, content in contents.items():
        (hidden / name).parent.mkdir(parents=True, exist_ok=True)
        (hidden / name).write_bytes(content)
    hidden.rename(target)
    return manifest


def _write(
    target: Path, network: Network, top1: float | None, files: Mapping[str, bytes], changes: Mapping[str, object]
) -> Manifest:
    dtype, weights, _, _, size, activation = network
    classes = weights.shape[1]
    repository, (model, variant, version) = target.parents[2], target.parts[-3:]
    with stage(repository, model, variant, int(version)) as staging:
        for name, content in files.items():
            (staging.directory / name).parent.mkdir(exist_ok=True)
            (staging.directory / name).write_bytes(content)
        onnx.save(_graph(*network), staging.graph)
        draft = {
            "source": {"name": "tests", "weights": "random", "seed": 0},
            "architecture": "mean-colour",
            "encoding": "none",
            "precision": "fp32",
            "target": "portable",
            "input": {
                "name": "image",
                "dtype": dtype,
                "layout": "NHWC" if dtype == "uint8" else "NCHW",
                "height": size[0],
                "width": size[1],
                "batch": {"min": 1, "max": 64},
            },
            "output": {"name": "logits", "dtype": "float32", "classes": classes, "activation": activation},
            "preprocess": {"resize": size, "interpolation": "bicubic", "mean": MEAN, "std": STD},
            "graph": {"opset": 18, "nodes": 3, "ops": {"Cast": 1}, "constant_only_nodes": 0, "table_gathers": 0},
            "baked": [{"module": "blocks.0", "kind": "static", "what": "a bias", "shape": (2, 4), "bytes": 32}],
            "parity": {
                "reference": "NumPy",
                "batches": (1, 2),
                "max_abs_error": 0.0,
                "max_rel_error": 0.0,
                "top1_agreement": 1.0,
                "tolerance": 1e-5,
            },
            "accuracy": None if top1 is None else {"dataset": "patches", "top1": top1, "count": 100},
            "tools": {"onnx": onnx.__version__},
            "created": datetime(2026, 11, 20, tzinfo=UTC),
        }
        return staging.commit(Draft.model_validate({**draft, **changes}), LABELS[:classes])


def expected_probabilities(pixels: NDArray[np.uint8], weights: NDArray[np.float32] = WEIGHTS) -> list[float]:
    """Return the softmax of the logits of uint8 pixels [H, W, 3], computed class by class."""
    means = [float(np.mean(pixels[:, :, channel].astype(np.float64))) for channel in range(3)]
    logits = [sum(means[row] * float(weights[row, column]) for row in range(3)) for column in range(weights.shape[1])]
    powers = [np.exp(logit - max(logits)) for logit in logits]
    return [float(power / sum(powers)) for power in powers]


def _graph(
    dtype: Literal["uint8", "float32"],
    weights: NDArray[np.float32],
    logits: Logits,
    output: str,
    size: tuple[int, int],
    activation: Activation,
) -> onnx.ModelProto:
    if dtype == "uint8":
        image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *size, 3])
        axes = np.array([1, 2], np.int64)
    else:
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, *size])
        axes = np.array([2, 3], np.int64)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], [output if logits == "finite" else "product"]),
    ]
    constants = [numpy_helper.from_array(axes, "axes"), numpy_helper.from_array(weights, "weights")]
    if logits == "nan":
        constants.append(numpy_helper.from_array(np.array(0.01, np.float32), "little"))
        nodes.append(helper.make_node("Sub", ["little", "product"], ["negative"]))
        nodes.append(helper.make_node("Log", ["negative"], [output]))
    if logits == "unrunnable":
        constants.append(numpy_helper.from_array(np.array([-1, 1000], np.int64), "thousand"))
        nodes.append(helper.make_node("Reshape", ["product", "thousand"], ["long"]))
        nodes.append(helper.make_node("ReduceMean", ["long"], ["mean"], keepdims=1))
        nodes.append(helper.make_node("Add", ["product", "mean"], [output]))
    if logits == "endless":
        nodes += _loop("means", "product", output)
        constants += [
            numpy_helper.from_array(np.array(n, np.float32), name) for n, name in ((9, "dark"), (2**40, "many"))
        ]
    if activation != "none":
        nodes[-1].output[0] = "scores"
        nodes.append(helper.make_node(activation.title(), ["scores"], [output]))
    logits_info = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", weights.shape[1]])
    graph = helper.make_graph(nodes, "mean_colour", [image], [logits_info], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _loop(means: str, values: str, output: str) -> list[onnx.NodeProto]:
    """Return nodes that pass `values` through a loop of max(0, largest mean - 9) * 2^40 iterations."""
    number, flag = TensorProto.INT64, TensorProto.BOOL
    body = helper.make_graph(
        [helper.make_node("Identity", [one], [f"{one}_out"]) for one in ("going_on", "carried")],
        "body",
        [
            helper.make_tensor_value_info("iteration", number, []),
            helper.make_tensor_value_info("going_on", flag, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("going_on_out", flag, []),
            helper.make_tensor_value_info("carried_out", TensorProto.FLOAT, None),
        ],
    )
    return [
        helper.make_node("ReduceMax", [means], ["largest"], keepdims=0),
        helper.make_node("Sub", ["largest", "dark"], ["brightness"]),
        helper.make_node("Relu", ["brightness"], ["bright"]),
        helper.make_node("Mul", ["bright", "many"], ["iterations_float"]),
        helper.make_node("Cast", ["iterations_float"], ["iterations"], to=number),
        helper.make_node("Loop", ["iterations", "", values], [output], body=body),
    ]
