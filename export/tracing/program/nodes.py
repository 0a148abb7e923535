"""Nodes of traced programs: names of operators and modules, arguments, and insertion."""

from collections import Counter
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import TensorArgument


def count_operators(program: ExportedProgram) -> Counter[str]:
    """Return the count of each ATen operator in a program, by plain name: `add` for `aten.add.Tensor`."""
    return Counter(operator_of(node) for node in program.graph.nodes if node.op == "call_function")


def operator_of(node: fx.Node) -> str:
    """Return the plain name of a node's operator."""
    if isinstance(node.target, torch._ops.OpOverload):
        name = node.target._schema.name.rpartition("::")[2]
        return "softmax" if name == "_safe_softmax" else name  # they differ only in rows that are all −∞
    return str(getattr(node.target, "__name__", node.target))


def module_of(node: fx.Node) -> str:
    """Return the path of the innermost module that a node was traced in; "" is the network itself."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()))[0] if stack else ""
    return without_wrappers(path)


def without_wrappers(path: str) -> str:
    """Return a module path without the attribute `network` of the wrappers around the user's network."""
    while path == "network" or path.startswith("network."):
        path = path.removeprefix("network").removeprefix(".")
    return path


def arguments_of(node: fx.Node) -> dict[str, Any]:
    """Return an ATen operator's arguments by name, including the defaults of its schema."""
    assert isinstance(node.target, torch._ops.OpOverload), f"{node.target} is not an ATen operator"
    schema = node.target._schema.arguments
    given = dict(zip((argument.name for argument in schema), node.args, strict=False)) | node.kwargs
    return {argument.name: given.get(argument.name, argument.default_value) for argument in schema}


def insert_call(place: fx.Node, operator: Any, *arguments: Any, **options: Any) -> fx.Node:  # noqa: ANN401
    """Insert a call of an operator before a node, with the same module, and return it."""
    with place.graph.inserting_before(place):
        made = place.graph.call_function(operator, arguments, options)
    origin = place if "val" in place.meta else made.all_input_nodes[0]  # the output node has no module
    value = origin.meta["val"]
    with (value[0] if isinstance(value, list | tuple) else value).fake_mode:
        values = fx.node.map_arg((arguments, options), lambda argument: argument.meta["val"])
        made.meta = origin.meta | {"val": operator(*values[0], **values[1])}
    return made


def update_outputs(program: ExportedProgram) -> None:
    """Update the output names in a program's signature, after output nodes were replaced."""
    returned = program.graph.output_node().args[0]
    assert isinstance(returned, list | tuple)
    for spec, node in zip(program.graph_signature.output_specs, returned, strict=True):
        if isinstance(node, fx.Node):
            spec.arg = TensorArgument(node.name)
