"""Check of a strongly typed graph, node by node, against the operators' definitions in ONNX."""

import onnx
from onnx import defs


def type_errors(model: onnx.ModelProto) -> list[str]:
    """Return a line for each input or output whose type the node's definition does not allow."""
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
    return [error for node in model.graph.node for error in _errors(node, kinds, opset)]


def _errors(node: onnx.NodeProto, kinds: dict[str, int], opset: int) -> list[str]:
    schema = defs.get_schema(node.op_type, opset)
    bound: dict[str, str] = {}
    errors = []
    for names, formals in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for index, name in enumerate(names):
            if not name:
                continue
            formal = formals[min(index, len(formals) - 1)]
            kind = f"tensor({onnx.TensorProto.DataType.Name(kinds[name]).lower()})"
            if kind not in formal.types:
                errors.append(f"{node.op_type} {name}: {kind} is none of {sorted(formal.types)}")
            elif bound.setdefault(formal.type_str, kind) != kind:
                errors.append(f"{node.op_type} {name}: {kind} where {bound[formal.type_str]} came before")
    if node.op_type == "Cast":
        to = next(attribute.i for attribute in node.attribute if attribute.name == "to")
        if kinds[node.output[0]] != to:
            errors.append(f"Cast {node.output[0]}: says {to}, yields {kinds[node.output[0]]}")
    return errors
