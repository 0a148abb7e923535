"""From an inference form to an ONNX graph, and what the graph is made of."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from torch import nn

from artifact import Batch, Graph
from export.errors import ExportError
from export.passes import run_passes
from export.passes.fold_constants import is_constant_only

_GATHERS = frozenset({"Gather", "GatherElements", "GatherND"})


def build_graph(network: nn.Module, example: torch.Tensor, batch: Batch, opset: int) -> ir.Model:
    """Trace `network` and return a graph from `image` to `logits` that holds nothing constant left to compute.

    Args:
        network: maps a tensor like `example`, of any batch size, to logits [B, classes].
        example: one batch; its size must be at least 2, because torch takes 1 for a constant.
        batch: the sizes the graph must accept; a single size makes a graph of that size only.
        opset: of the standard ONNX domain.

    Raises:
        ExportError: tracing failed, or the batch came out frozen.
    """
    model = trace(network, example, batch, opset)
    run_passes(model)
    if batch.min < batch.max:
        _refuse_frozen_batch(model)
    return model


def trace(network: nn.Module, example: torch.Tensor, batch: Batch, opset: int) -> ir.Model:
    """Return what torch.onnx alone makes of `network`; see `build_graph`."""
    dynamic = batch.min < batch.max
    shapes = ({0: torch.export.Dim("batch", min=batch.min, max=batch.max)},) if dynamic else None
    try:
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=["image"],
            output_names=["logits"],
            opset_version=opset,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"torch.onnx could not export the network: {_first_line(error)}") from error
    assert program is not None
    return program.model


def save_graph(model: ir.Model, path: Path) -> None:
    """Check the graph as ONNX does, and write it.

    Raises:
        ExportError: the graph is not valid ONNX.
        OSError: it cannot be written.
    """
    proto = ir.to_proto(model)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {_first_line(error)}") from error
    path.write_bytes(proto.SerializeToString())


def describe_graph(model: ir.Model) -> Graph:
    """Return what a manifest says of a graph."""
    nodes = list(_all_nodes(model))
    return Graph(
        opset=model.opset_imports[""],
        nodes=len(nodes),
        ops=dict(sorted(Counter(node.op_type for node in nodes).items())),
        constant_only_nodes=sum(map(is_constant_only, nodes)),
        table_gathers=sum(_reads_a_table(node) for node in nodes),
    )


def _all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    for graph in model.graphs():
        yield from graph


def _reads_a_table(node: ir.Node) -> bool:
    data = node.inputs[0] if node.inputs else None
    return node.op_type in _GATHERS and data is not None and data.is_initializer()


def _refuse_frozen_batch(model: ir.Model) -> None:
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is None or isinstance(value.shape[0], int):
            raise ExportError(
                f"the batch size of {value.name!r} came out frozen, its shape is {value.shape}; "
                "look for len(x) or int(x.shape[0]) in the network"
            )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
