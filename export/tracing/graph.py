"""Tracing of a network to an ONNX graph with static shapes, in which every node depends on the image."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from artifact import Batch
from export.process.errors import ExportError
from export.tracing.alike import SMALL, batch_specialised, check_alike, distinctive_batch
from export.tracing.evaluation import Constant, evaluate
from export.tracing.program.nodes import count_operators, without_wrappers
from export.tracing.program.refusals import dtype_name, not_converted
from export.tracing.tables import tables_built_once
from export.tracing.torch_export import trace


@dataclass(frozen=True)
class TracedGraph:
    """Graph with static shapes, and the facts of its trace.

    Attributes:
        model: graph from `image` to `logits`.
        images: distinctive batch size of the trace; None if the graph keeps its batch size.
        constants: results of partial evaluation, and parameters that are inputs of image-dependent operators.
        traced: count of each ATen operator in the traced network.
        left: count of each ATen operator after partial evaluation.
    """

    model: ir.Model
    images: int | None
    constants: tuple[Constant, ...]
    traced: Counter[str]
    left: Counter[str]


@tables_built_once()
def trace_graph(network: nn.Module, example: Tensor, batch: Batch, opset: int) -> TracedGraph:
    """Trace `network` with one batch size, or with two if the batch is dynamic, then evaluate and convert it.

    Args:
        network: network that maps a tensor like `example`, of any batch size, to logits [B, classes].
        example: a batch of any size.
        batch: batch sizes that the graph must accept; a single size results in a batch-specialised graph.
        opset: opset of the standard ONNX domain.

    Raises:
        ExportError: tracing failed, the network does not return logits, or it is batch-specialised.
    """
    if batch.min == batch.max:
        evaluated = _evaluate(network, example, batch.min)
        model, images, constants = _convert(evaluated.program, opset), None, evaluated.constants
    else:
        evaluated = _evaluate(network, example, SMALL)
        images = distinctive_batch(evaluated.program)
        try:
            other = _evaluate(network, example, images)
        except ExportError as error:
            raise batch_specialised("", f"only the first trace succeeds: {error}", images) from error
        repeated = check_alike(evaluated.program, other.program, images)
        model = _convert(other.program, opset)
        constants = tuple(_of_one_image(constant, repeated) for constant in evaluated.constants)
    return TracedGraph(model, images, constants, evaluated.traced, count_operators(evaluated.program))


def _of_one_image(constant: Constant, repeated: Mapping[str, int]) -> Constant:
    """Return the record of a constant for one image, if it is repeated for each of `SMALL` images."""
    axis = repeated.get(constant.name)
    if axis is None or constant.shape[axis] < SMALL:  # an expanded axis already counts as 1
        return constant
    shape = (*constant.shape[:axis], constant.shape[axis] // SMALL, *constant.shape[axis + 1 :])
    return replace(constant, shape=shape, bytes=constant.bytes // SMALL)


@dataclass(frozen=True)
class _Evaluated:
    program: ExportedProgram
    constants: tuple[Constant, ...]
    traced: Counter[str]


def _evaluate(network: nn.Module, example: Tensor, images: int) -> _Evaluated:
    """Return the evaluated program for batch size `images`."""
    program = trace(network, example.new_zeros(images, *example.shape[1:]))
    traced = count_operators(program)
    program, constants = evaluate(program)
    _check_logits(program, images)
    return _Evaluated(program, constants, traced)


def _convert(program: ExportedProgram, opset: int) -> ir.Model:
    try:
        converted = torch.onnx.export(program, (), dynamo=True, opset_version=opset, optimize=False, verbose=False)
    except torch.onnx.OnnxExporterError as error:
        raise not_converted(error) from error
    assert converted is not None
    model = converted.model
    model.graph.inputs[0].name, model.graph.outputs[0].name = "image", "logits"
    for name, value in list(model.graph.initializers.items()):
        del model.graph.initializers[name]
        stored = ir.Value(
            name=without_wrappers(name), shape=value.shape, type=value.type, const_value=value.const_value
        )
        value.replace_all_uses_with(stored)
        value.const_value = None  # frees the tensor: onnx_ir keeps the former input
        model.graph.register_initializer(stored)
    return model


def _check_logits(program: ExportedProgram, images: int) -> None:
    outputs = program.graph.output_node().all_input_nodes
    shapes = [tuple(node.meta["val"].shape) for node in outputs if isinstance(node.meta.get("val"), Tensor)]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][0] != images:
        returned = ", ".join(map(str, shapes)) or "no tensor"
        raise ExportError(
            f"with {images} images the network returns {returned}; expected logits ({images}, classes): wrap it in a "
            "module that returns only these"
        )
    dtype = outputs[0].meta["val"].dtype
    if dtype != torch.float32:
        raise ExportError(f"the network's logits are {dtype_name(dtype)}; expected float32: return logits.float()")
