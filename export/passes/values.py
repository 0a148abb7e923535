"""What passes ask of the graph's values."""

from typing import Any

import numpy as np
import onnx_ir as ir

RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""Operators that yield other numbers each time."""


def name_of(value: ir.Value) -> str:
    """Return a value's name; every value of a traced graph has one."""
    assert value.name is not None, "every value of a traced graph has a name"
    return value.name


def array_of(value: ir.Value) -> np.ndarray[Any, Any]:
    """Return the numbers of an initialiser."""
    assert value.const_value is not None, "an initialiser holds its value"
    return value.const_value.numpy()


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is an initialiser."""
    return value is not None and value.is_initializer()


def sizes_of(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return a value's shape if all of it is known."""
    if value is None or value.shape is None:
        return None
    sizes = tuple(size for size in value.shape if isinstance(size, int))
    return sizes if len(sizes) == len(value.shape) else None


def only_use(value: ir.Value) -> tuple[ir.Node, int] | None:
    """Return the one node that reads a value, and as which input, if it does not leave the graph."""
    uses = list(value.uses())
    return (uses[0].node, uses[0].idx) if len(uses) == 1 and not value.is_graph_output() else None


def add_constant(model: ir.Model, array: np.ndarray[Any, Any], name: str) -> ir.Value:
    """Register a new initialiser, under `name` or the first free name made from it, and return it."""
    taken = model.graph.initializers
    free = name if name not in taken else next(n for i in range(1, len(taken) + 2) if (n := f"{name}_{i}") not in taken)
    tensor = ir.tensor(array, name=free)
    value = ir.Value(name=free, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    model.graph.register_initializer(value)
    return value


def scope_of(node: ir.Node) -> str:
    """Return the path of the module that a node came from, as torch.onnx noted it; "" if it did not."""
    noted = node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]").strip("[]").split(",")
    scopes = [scope.strip().strip("'\"") for scope in noted]
    return scopes[-2] if len(scopes) > 1 else ""
