"""Accessors of values and nodes of a graph, and functions that add constants and nodes."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

Array = np.ndarray[Any, Any]
Sizes = tuple[int, ...]


def name_of(value: ir.Value) -> str:
    """Return the name of a value, which must have one."""
    assert value.name is not None, "every value of a traced graph has a name"
    return value.name


def array_of(value: ir.Value) -> Array:
    """Return the array of an initialiser."""
    assert value.const_value is not None, "an initialiser has a value"
    return value.const_value.numpy()


def is_constant(value: ir.Value | None) -> bool:
    """Return whether a value is an initialiser."""
    return value is not None and value.is_initializer()


def sizes_of(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return the shape of a value; None if it is not static."""
    shape = None if value is None else value.shape
    return shape.numpy() if shape is not None and shape.is_static() else None


def shape_of(value: ir.Value | None) -> Sizes:
    """Return the shape of a value, which must be static."""
    sizes = sizes_of(value)
    assert sizes is not None, "the shape is static"
    return sizes


def input_of(node: ir.Node, position: int) -> ir.Value:
    """Return an input of a node, which must exist."""
    value = node.inputs[position]
    assert value is not None, "the node has this input"
    return value


def producer_of(value: ir.Value | None) -> ir.Node | None:
    """Return the node that produces a value; None for inputs and initialisers."""
    return None if value is None else value.producer()


def integers_of(node: ir.Node, position: int) -> Array | None:
    """Return a constant integer input of a node (shape, axes, indices); None if it is missing or not constant."""
    value = node.inputs[position] if len(node.inputs) > position else None
    if value is None or not is_constant(value) or value.dtype not in (ir.DataType.INT32, ir.DataType.INT64):
        return None
    return array_of(value).astype(np.int64)


def constant_operand(node: ir.Node, operators: Container[str]) -> int | None:
    """Return the position of the only constant input of an arithmetic node, in float32.

    The result is None for c - x, c / x, and other operators.
    """
    if node.domain != "" or node.op_type not in operators:
        return None
    places = [position for position, value in enumerate(node.inputs) if is_constant(value)]
    if len(places) != 1 or (node.op_type in ("Div", "Sub") and places[0] == 0):
        return None
    return places[0] if input_of(node, places[0]).dtype == ir.DataType.FLOAT else None


def only_use(value: ir.Value) -> tuple[ir.Node, int] | None:
    """Return the only reader of a value and its input position; None for several readers and for graph outputs."""
    uses = list(value.uses())
    return (uses[0].node, uses[0].idx) if len(uses) == 1 and not value.is_graph_output() else None


def add_constant(model: ir.Model, array: Array, name: str) -> ir.Value:
    """Register and return a new initialiser named `name`, with a number appended if the name is taken.

    The hyphen before the number keeps it apart from torch's names of operators: `add`, `add_1`.
    """
    taken = model.graph.initializers
    free = name if name not in taken else next(n for i in range(1, len(taken) + 2) if (n := f"{name}-{i}") not in taken)
    tensor = ir.tensor(array, name=free)
    value = ir.Value(name=free, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    model.graph.register_initializer(value)
    return value


_SOURCES = "posbake.sources"
"""Metadata key for the names of the constants from which a constant was derived; it is named after the first."""


def made_from(value: ir.Value) -> tuple[str, ...]:
    """Return the names of the constants from which an initialiser was derived, or its own name."""
    return tuple(value.meta.get(_SOURCES, (name_of(value),)))


def note_sources(value: ir.Value, *sources: ir.Value) -> None:
    """Record the constants from which an initialiser was derived."""
    value.meta[_SOURCES] = tuple(dict.fromkeys(name for source in sources for name in made_from(source)))


def derive_constant(model: ir.Model, array: Array, *sources: ir.Value) -> ir.Value:
    """Register and return a new initialiser that is derived from others."""
    value = add_constant(model, array, name_of(sources[0]))
    note_sources(value, *sources)
    return value


def name_after_sources(model: ir.Model) -> None:
    """Give each derived initialiser the name of its first source, if that is no longer read."""
    taken = model.graph.initializers
    for value in [value for value in taken.values() if _SOURCES in value.meta and value.uses()]:
        name = made_from(value)[0]
        if name != value.name and (name not in taken or not taken[name].uses()):
            taken.pop(name, None)
            taken.pop(name_of(value))
            value.name = name
            model.graph.register_initializer(value)


def add_node(
    before: ir.Node,
    operator: str,
    inputs: Sequence[ir.Value],
    shape: Iterable[int | ir.SymbolicDim],
    attributes: Mapping[str, int | float | Sequence[int]] | None = None,
    dtype: ir.DataType | None = None,
) -> ir.Value:
    """Insert a node of the same module before `before`; return its output, by default with the first input's dtype."""
    node = ir.node(operator, inputs, attributes, metadata_props=dict(before.metadata_props))
    assert before.graph is not None, "the node is in a graph"
    before.graph.insert_before(before, node)
    node.outputs[0].shape = ir.Shape(shape)
    node.outputs[0].type = inputs[0].type if dtype is None else ir.TensorType(dtype)
    return node.outputs[0]


def remove(node: ir.Node, instead: ir.Value) -> None:
    """Remove a node and replace its first output, which must not be a graph output, by `instead`."""
    node.outputs[0].replace_all_uses_with(instead)
    assert node.graph is not None, "the node is in a graph"
    node.graph.remove(node, safe=True)


def scope_of(node: ir.Node) -> str:
    """Return the path of a node's module, as recorded by torch.onnx; "" if it is missing."""
    noted = node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]").strip("[]").split(",")
    scopes = [scope.strip().strip("'\"") for scope in noted]
    return scopes[-2] if len(scopes) > 1 else ""
