"""Graphs and manifests that are damaged on purpose, of artifacts that can be read but not be run."""

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
    """Give an artifact a graph of these nodes, from `image` to `logits`, and vouch for it."""
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
"""Logits, [batch, 4], as `product`."""

CONSTANTS = (constant("axes", [1, 2]), constant("weights", np.eye(3, 4), np.float32))


def loop_without_end(path: Path) -> None:
    """A Loop of 2^62 rounds."""
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
    put_graph(path, *MEAN, loop, constants=(*CONSTANTS, constant("rounds", 2**62), constant("yes", True, np.bool_)))


def allocation(path: Path) -> None:
    """10^13 numbers."""
    expand = helper.make_node("Expand", ["product", "shape"], ["large"])
    reduce = helper.make_node("ReduceMean", ["large", "first"], ["logits"], keepdims=0)
    extra = (constant("shape", [10**12, 1, 4]), constant("first", [0]))
    put_graph(path, *MEAN, expand, reduce, constants=(*CONSTANTS, *extra))


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
    """An operator that is unknown, of 100,000 characters with an escape sequence."""
    put_graph(path, helper.make_node("\x1b[2J" + "X" * 100_000, ["image"], ["logits"]))


UNRUNNABLE: dict[str, Damage] = {
    "a loop without end": loop_without_end,
    "an allocation of 10^13": allocation,
    "images of 65,535 x 65,535": images_of(65_535, 65_535),
    "images of 100,000 x 100,000": images_of(100_000, 100_000),
    "images of 10^400 x 10^400": images_of(10**400, 10**400),
    "an operator with a long name": long_names,
    "a version of 4,000 digits": lambda path: edit(path, lambda manifest: manifest.update(version=10**3999)),
}


def add_hostile(repository: Path) -> list[str]:
    """Add an artifact for each way of damage, and return their names; all are between `colours/a` and `colours/z`."""
    names = []
    for number, damage in enumerate([*UNREADABLE.values(), *UNRUNNABLE.values()]):
        add_artifact(repository, variant=f"b-{number:03}")
        damage(repository / f"colours/b-{number:03}/1")
        names.append(f"colours/b-{number:03}/1")
    return names
