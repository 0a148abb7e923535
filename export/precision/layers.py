"""Quantizable layers of a graph: MatMul, Gemm and Conv with a constant weight, grouped by their input.

Depth-wise convolutions are excluded: in int8 they take 2.2 times as long in ONNX Runtime, and as long in OpenVINO.
Shapes: C channels of the activation, its last axis for MatMul and Gemm, its second axis for Conv.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.passes.values import array_of, input_of, sizes_of

Array = NDArray[np.float32]

_PRODUCTS = ("MatMul", "Gemm", "Conv")


@dataclass(frozen=True)
class Layers:
    """An activation, and the layers that read it and share its scale and smoothing."""

    activation: ir.Value
    products: tuple[ir.Node, ...]

    @property
    def name(self) -> str:
        """Name of the first layer."""
        return str(self.products[0].name)

    @property
    def convolve(self) -> bool:
        """True if the layers are convolutions."""
        return self.products[0].op_type == "Conv"

    def weight(self) -> Array:
        """Return the concatenated weights of all layers, [C, outputs]; not for convolutions."""
        return np.concatenate(
            [
                array_of(input_of(each, 1)).T if output_axis(each) == 0 else array_of(input_of(each, 1))
                for each in self.products
            ],
            axis=1,
        )


def find_layers(model: ir.Model) -> list[Layers]:
    """Return all quantizable layers except the first and the last, in graph order."""
    nodes = [node for node in model.graph if node.op_type in _PRODUCTS and _has_weight(node)][1:-1]
    groups: dict[tuple[ir.Value, bool], list[ir.Node]] = {}
    for node in nodes:
        groups.setdefault((input_of(node, 0), node.op_type == "Conv"), []).append(node)
    return [Layers(activation, tuple(products)) for (activation, _), products in groups.items()]


def output_axis(product: ir.Node) -> int:
    """Return the output axis of a layer's weight."""
    if product.op_type == "Conv":
        return 0
    return 0 if product.op_type == "Gemm" and product.attributes.get_int("transB", 0) != 0 else 1


def _has_weight(node: ir.Node) -> bool:
    sizes = sizes_of(node.inputs[1])
    if sizes is None or not input_of(node, 1).is_initializer():
        return False
    if node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0:
        return False
    return len(sizes) == 2 or (node.op_type == "Conv" and sizes[1] > 1)
