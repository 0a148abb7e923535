"""Hand-written graphs of a few nodes."""

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.verify.sessions import cpu_session

Array = NDArray[np.float32]
node = helper.make_node


def graph(
    nodes: list[NodeProto], shape: tuple[int, ...], out: tuple[int, ...], **constants: NDArray[np.generic]
) -> ir.Model:
    """Return a checked, fully typed graph from `image` [batch, *shape] to `logits` [batch, *out]."""
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "hand-made",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *shape])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", *out])],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    made = onnx.shape_inference.infer_shapes(made, strict_mode=True)
    onnx.checker.check_model(made, full_check=True)
    return ir.from_proto(made)


def run(model: ir.Model, image: Array) -> Array:
    session = cpu_session(ir.to_proto(model).SerializeToString())
    logits: Array = session.run(["logits"], {"image": image})[0]
    return logits


def normalise() -> ir.Model:
    """Return x / max(|x|, 1e-12) for the rows of [batch, 2, 4], as in Swin v2."""
    return graph(
        [
            node("ReduceL2", ["image", "axes"], ["length"], keepdims=1),
            node("Clip", ["length", "epsilon"], ["limited"]),
            node("Div", ["image", "limited"], ["logits"]),
        ],
        (2, 4),
        (2, 4),
        axes=np.array([-1], np.int64),
        epsilon=np.array(1e-12, np.float32),
    )


def rms_norm() -> ir.Model:
    """Return x / √(mean x² + 1e-6) as a chain of nodes."""
    return graph(
        [
            node("Pow", ["image", "two"], ["squares"]),
            node("ReduceMean", ["squares", "axes"], ["mean"], keepdims=1),
            node("Add", ["mean", "epsilon"], ["shifted"]),
            node("Sqrt", ["shifted"], ["root"]),
            node("Div", ["image", "root"], ["logits"]),
        ],
        (2, 4),
        (2, 4),
        axes=np.array([-1], np.int64),
        two=np.array(2, np.float32),
        epsilon=np.array(1e-6, np.float32),
    )


def masked_softmax() -> ir.Model:
    """Return softmax of scores plus a mask of finfo.min that covers the whole second row, then a product."""
    mask = np.zeros((2, 4), np.float32)
    mask[0, 2:] = mask[1] = np.finfo(np.float32).min
    return graph(
        [
            node("Add", ["image", "mask"], ["masked"]),
            node("Reshape", ["masked", "sizes"], ["moved"]),
            node("Softmax", ["moved"], ["attention"], axis=-1),
            node("MatMul", ["attention", "weight"], ["logits"]),
        ],
        (2, 4),
        (2, 4),
        mask=mask,
        sizes=np.array([0, 2, 4], np.int64),
        weight=np.eye(4, dtype=np.float32) * 3,
    )
