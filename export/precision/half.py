"""Conversion of a float32 graph to a strongly typed graph in half precision (float16 or bfloat16).

All dtypes are explicit, with Casts between float32 and half precision, so runtimes need no precision setting. TensorRT
11 supports strongly typed graphs only. The dtypes of the graph's input and output do not change.
"""

from collections import Counter

import onnx_ir as ir

from export.precision.rules import MOVES, plan, takes
from export.process.errors import ExportError

HALVES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}

_SINGLE = ir.DataType.FLOAT


class ToHalf(ir.passes.InPlacePass):
    """Convert float32 values to half precision, except at the nodes that `export.precision.rules` keeps in float32.

    1. A float32 image is cast once, before its first reader.
    2. A value has at most one Cast, which all readers in the other dtype share.
    3. Constants are converted; a constant that is also read in float32 is stored in both dtypes.
    4. Logits in half precision are cast to float32.
    5. A Cast to float32 becomes a Cast to half precision, unless its result must stay float32.

    Args:
        half: FLOAT16 or BFLOAT16.

    Attributes:
        kept: number of nodes that are computed in float32, by operator, after a call.
    """

    def __init__(self, half: ir.DataType) -> None:
        super().__init__()
        self.half = half
        self.kept: dict[str, int] = {}
        self._other: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Convert the graph in place.

        Raises:
            ExportError: a node has a subgraph or a non-standard domain, or a weight overflows.
        """
        _check_operators(model)
        stays = plan(model, self.half)
        self.kept = dict(sorted(Counter(n.op_type for n in stays.nodes if n.op_type not in MOVES).items()))
        self._other = {}
        graph, opset = model.graph, model.opset_imports[""]
        nodes = list(graph)
        values = {value for node in nodes for value in (*node.inputs, *node.outputs) if value is not None}
        floats = {value for value in values if value.dtype == _SINGLE}
        self._cast_images(graph)
        for node in nodes:
            for index, value in enumerate(node.inputs):
                if value is None or value not in floats:
                    continue
                half = node not in stays.nodes and (node.op_type == "Cast" or takes(node, index, opset, self.half))
                node.replace_input_with(index, self._in_type(value, self.half if half else _SINGLE, node))
            for value in node.outputs:
                if value in floats and value not in stays.values:
                    value.dtype = self.half
            if node.op_type == "Cast" and node.outputs[0].dtype == self.half:
                node.attributes["to"] = ir.AttrInt64("to", self.half)
        self._cast_logits(graph)
        self._store(graph)
        return ir.passes.PassResult(model, modified=True)

    def _in_type(self, value: ir.Value, dtype: ir.DataType, reader: ir.Node) -> ir.Value:
        """Return `value` in `dtype`; a new Cast is inserted before `reader` if there is none yet."""
        if (value, dtype) in self._other:
            return self._other[value, dtype]
        if value.dtype == dtype:
            return value
        if value.is_initializer():
            self._other[value, dtype] = _rounded(value, dtype)
        else:
            cast = cast_to(value, dtype, "single" if dtype == _SINGLE else "half")
            assert reader.graph is not None
            reader.graph.insert_before(reader, cast)
            self._other[value, dtype] = cast.outputs[0]
        return self._other[value, dtype]

    def _cast_images(self, graph: ir.Graph) -> None:
        first = graph[0]
        for image in graph.inputs:
            if image.dtype == _SINGLE:
                self._in_type(image, self.half, first)

    def _cast_logits(self, graph: ir.Graph) -> None:
        for index, logits in enumerate(graph.outputs):
            if logits.dtype == self.half:
                name = logits.name
                logits.name = f"{name}_half"
                cast = cast_to(logits, _SINGLE, "single")
                cast.outputs[0].name = name
                graph.append(cast)
                graph.outputs[index] = cast.outputs[0]

    def _store(self, graph: ir.Graph) -> None:
        """Register the rounded constants; they replace float32 constants that are no longer read."""
        for (value, _), rounded in self._other.items():
            if value.is_initializer():
                assert value.name is not None, "an initialiser has a name"
                name = value.name
                if value.uses():
                    name = f"{name}_half"
                else:
                    del graph.initializers[value.name]
                rounded.name = name
                graph.register_initializer(rounded)


def _check_operators(model: ir.Model) -> None:
    subgraphs = {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}
    for node in model.graph:
        if node.domain not in {"", "ai.onnx"} or any(a.type in subgraphs for a in node.attributes.values()):
            raise ExportError(
                f"{node.op_type} {node.name!r} has a subgraph or is not in the standard ONNX domain, so its precision "
                "cannot be changed; use --precision fp32"
            )


def _rounded(value: ir.Value, dtype: ir.DataType) -> ir.Value:
    assert value.const_value is not None, "an initialiser has a value"
    tensor = ir.tensor(value.const_value.numpy().astype(dtype.numpy()), dtype=dtype, name=value.name)
    return ir.Value(name=value.name, shape=value.shape, type=ir.TensorType(dtype), const_value=tensor)


def cast_to(value: ir.Value, dtype: ir.DataType, suffix: str) -> ir.Node:
    """Return a Cast of a value, not yet inserted into a graph; its output has the value's name and a suffix."""
    out = ir.Value(name=f"{value.name}_{suffix}", shape=value.shape, type=ir.TensorType(dtype))
    return ir.Node("", "Cast", [value], [ir.AttrInt64("to", dtype)], outputs=[out], name=f"cast_{out.name}")
