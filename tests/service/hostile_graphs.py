"""Deliberately damaged graphs and manifests, of artifacts that can be read but not run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from artifact.hashing import describe_file
from tests.artifact.hostile import UNREADABLE, Damage, edit
from tests.service.artifacts import add_artifact

Node = onnx.NodeProto


def put_graph(
    path: Path, *nodes: Node, constants: tuple[onnx.TensorProto, ...] = (), size: tuple[int, int] = (8, 6)
) -> None:
    """Replace an artifact's graph by these nodes, from `image` to `logits`, and update its hash in the manifest."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *size, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path / "model.onnx")
    found = describe_file(path / "model.onnx")
    edit(path, lambda manifest: manifest["files"].update({"model.onnx": found.model_dump()}))


def constant(name: str, value: object, dtype: type = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


MEAN = (
    helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
    helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
    helper.make_node("MatMul", ["means", "weights"], ["product"]),
)
"""Nodes that compute logits [batch, 4] as `product`."""

CONSTANTS = (constant("axes", [1, 2]), constant("weights", np.eye(3, 4), np.float32))


def endless_loop(path: Path) -> None:
    """Write a Loop of 2^62 iterations."""
    _loop(path, 2**62)


def _loop(path: Path, rounds: int) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Add", ["sum", "one"], ["more"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, None),
        ],
        [constant("one", 1, np.float32)],
    )
    loop = helper.make_node("Loop", ["rounds", "yes", "product"], ["logits"], body=body)
    put_graph(path, *MEAN, loop, constants=(*CONSTANTS, constant("rounds", rounds), constant("yes", True, np.bool_)))


def allocation(path: Path) -> None:
    """Write a graph that allocates 10^13 numbers."""
    expand = helper.make_node("Expand", ["product", "shape"], ["large"])
    reduce = helper.make_node("ReduceMean", ["large", "first"], ["logits"], keepdims=0)
    extra = (constant("shape", [10**12, 1, 4]), constant("first", [0]))
    put_graph(path, *MEAN, expand, reduce, constants=(*CONSTANTS, *extra))


def index_out_of_range(path: Path) -> None:
    """Write a GatherND with an index out of range, which OpenVINO does not check."""
    gather = helper.make_node("GatherND", ["product", "place"], ["row"])
    add = helper.make_node("Add", ["product", "row"], ["logits"])
    put_graph(path, *MEAN, gather, add, constants=(*CONSTANTS, constant("place", [[0, 10**12]])))


def long_range(path: Path) -> None:
    """Write a Range of 10^13 numbers, which OpenVINO evaluates one by one while compiling."""
    numbers = helper.make_node("Range", ["start", "end", "step"], ["numbers"])
    total = helper.make_node("ReduceSum", ["numbers"], ["total"], keepdims=0)
    cast = helper.make_node("Cast", ["total"], ["sum"], to=TensorProto.FLOAT)
    add = helper.make_node("Add", ["product", "sum"], ["logits"])
    extra = (constant("start", 0), constant("end", 10**13), constant("step", 1))
    put_graph(path, *MEAN, numbers, total, cast, add, constants=(*CONSTANTS, *extra))


def large_result(path: Path) -> None:
    """Write a graph that allocates 10^8 numbers, 400 MB."""
    expand = helper.make_node("Expand", ["product", "shape"], ["large"])
    reduce = helper.make_node("ReduceMean", ["large", "first"], ["logits"], keepdims=0)
    extra = (constant("shape", [25 * 10**6, 1, 4]), constant("first", [0]))
    put_graph(path, *MEAN, expand, reduce, constants=(*CONSTANTS, *extra))


def overflowing_division(path: Path) -> None:
    """Write an integer division of -2^63 by -1: ONNX Runtime ends the process with SIGFPE on x86."""
    nodes = (
        helper.make_node("Cast", ["product"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Mul", ["whole", "zero"], ["none"]),
        helper.make_node("Add", ["none", "least"], ["above"]),
        helper.make_node("Add", ["none", "minus_one"], ["below"]),
        helper.make_node("Div", ["above", "below"], ["quotient"]),
        helper.make_node("Cast", ["quotient"], ["logits"], to=TensorProto.FLOAT),
    )
    extra = (constant("zero", 0), constant("least", -(2**63)), constant("minus_one", -1))
    put_graph(path, *MEAN, *nodes, constants=(*CONSTANTS, *extra))


def loop_of_three(path: Path) -> None:
    """Write a Loop that adds 1 three times."""
    _loop(path, 3)


def data_dependent_shape(path: Path) -> None:
    """Write a graph with a data-dependent shape: the number of channels whose mean is above 0."""
    nodes = (
        helper.make_node("NonZero", ["means"], ["places"]),
        helper.make_node("Shape", ["places"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["numbers"], ["most"], keepdims=0),
        helper.make_node("Cast", ["places"], ["some"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["some"], ["largest"], keepdims=0),
        helper.make_node("Sum", ["product", "most", "largest"], ["logits"]),
    )
    put_graph(path, *MEAN, *nodes, constants=CONSTANTS)


def put_mean(path: Path, factor: float = 1.0) -> None:
    """Write a graph that multiplies mean colours by a factor."""
    multiply = helper.make_node("Mul", ["product", "factor"], ["logits"])
    put_graph(path, *MEAN, multiply, constants=(*CONSTANTS, constant("factor", factor, np.float32)))


def images_of(height: int, width: int) -> Damage:
    def damage(path: Path) -> None:
        def change(manifest: dict[str, Any]) -> None:
            manifest["input"].update(height=height, width=width)
            manifest["preprocess"].update(resize=[height, width])

        edit(path, change)
        if height < 2**31:
            mean = helper.make_node("MatMul", ["means", "weights"], ["logits"])
            put_graph(path, *MEAN[:2], mean, constants=CONSTANTS, size=(height, width))

    return damage


def long_names(path: Path) -> None:
    """Write a graph with an unknown operator whose name has 100,000 characters and an escape sequence."""
    put_graph(path, helper.make_node("\x1b[2J" + "X" * 100_000, ["image"], ["logits"]))


UNRUNNABLE: dict[str, Damage] = {
    "an endless loop": endless_loop,
    "an allocation of 10^13": allocation,
    "an index out of range": index_out_of_range,
    "images of 65,535 x 65,535": images_of(65_535, 65_535),
    "images of 100,000 x 100,000": images_of(100_000, 100_000),
    "images of 10^400 x 10^400": images_of(10**400, 10**400),
    "an operator with a long name": long_names,
    "a version of 4,000 digits": lambda path: edit(path, lambda manifest: manifest.update(version=10**3999)),
}


def add_hostile(repository: Path, damages: Mapping[str, Damage] = UNREADABLE | UNRUNNABLE) -> list[str]:
    """Add an artifact for each kind of damage, and return their names, all between `colours/a` and `colours/z`."""
    names = []
    for number, damage in enumerate(damages.values()):
        add_artifact(repository, variant=f"b-{number:03}")
        damage(repository / f"colours/b-{number:03}/1")
        names.append(f"colours/b-{number:03}/1")
    return names
