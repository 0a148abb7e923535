"""How things are called in findings: types as in the support table, nodes as torch called their modules."""

import ast

import onnx_ir as ir

_TYPES = {
    ir.DataType.FLOAT: "FP32",
    ir.DataType.FLOAT16: "FP16",
    ir.DataType.BFLOAT16: "BF16",
    ir.DataType.FLOAT8E4M3FN: "FP8",
    ir.DataType.FLOAT4E2M1: "FP4",
}
_SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch.onnx writes "['', 'blocks', 'blocks.0', 'softmax']": modules from the outside in, then the node."""
_NO_MODULE = "_empty_nn_module_stack"  # what torch.export writes for nodes of its own


def type_name(dtype: ir.DataType) -> str:
    """Return a type's name in the support table: FP32, INT64; ONNX's own for types that the table does not know."""
    return _TYPES.get(dtype, dtype.name)


def dtype_of(value: ir.Value) -> ir.DataType | None:
    """Return the type of a value's elements, or None if the model does not say."""
    if value.dtype is None and value.const_value is not None:
        return value.const_value.dtype
    return value.dtype


def scope_of(node: ir.Node) -> str | None:
    """Return the torch module that a node was made from, or None if its metadata does not say."""
    try:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, ""))
    except (SyntaxError, ValueError):
        return None  # not torch's metadata, or none
    modules = [scope for scope in scopes[:-1] if scope] if isinstance(scopes, list) else []
    return modules[-1] if modules and not modules[-1].startswith(_NO_MODULE) else None
