"""From a network to an ONNX graph, and what the graph is made of."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from artifact import Batch, Graph, Rewrites
from export.batch import SMALL, check_alike, distinctive_batch, free_batch, frozen
from export.errors import ExportError
from export.evaluation import Constant, evaluate
from export.origins import all_nodes, count_constant_only
from export.passes import Cut, Folded, clean_up, prepare
from export.program.nodes import count_operators, without_wrappers
from export.program.refusals import not_converted, plain_type
from export.rewrites import summarise
from export.tracing import trace

_GATHERS = frozenset({"Gather", "GatherElements", "GatherND"})


@dataclass(frozen=True)
class Built:
    """A graph, and how it came about.

    Attributes:
        model: from `image` to `logits`.
        constants: what partial evaluation made, and the parameters that meet the image, as far as they are needed.
        rewrites: what became of data movement, and what was declined.
        traced: how often each ATen operator stood in the traced network.
        left: the same after partial evaluation.
    """

    model: ir.Model
    constants: tuple[Constant, ...]
    rewrites: Rewrites
    traced: Counter[str]
    left: Counter[str]


def build_graph(network: nn.Module, example: Tensor, batch: Batch, opset: int) -> Built:
    """Trace `network` and return a graph from `image` to `logits` that holds nothing constant left to compute.

    Args:
        network: maps a tensor like `example`, of any batch size, to logits [B, classes].
        example: a batch of any size.
        batch: the sizes the graph must accept; a single size makes a graph of that size only.
        opset: of the standard ONNX domain.

    Raises:
        ExportError: tracing failed, the network yields no logits, or the batch came out frozen.
    """
    repeated: dict[str, int] = {}
    if batch.min == batch.max:
        evaluated = _evaluate(network, example, batch.min)
        model = _convert(evaluated.program, opset)
        folded, cuts, moved = prepare(model)
    else:
        evaluated = _evaluate(network, example, SMALL)
        images = distinctive_batch(evaluated.program)
        try:
            other = _evaluate(network, example, images)
        except ExportError as error:
            raise frozen("", f"only the former is understood: {error}", images) from error
        repeated = check_alike(evaluated.program, other.program, images)
        model = _convert(other.program, opset)
        folded, cuts, moved = prepare(model, images)
        free_batch(model, images)
    clean_up(model)
    constants = _folded([_of_one_image(constant, repeated) for constant in evaluated.constants], folded)
    constants = tuple(_as_stored(constant, cuts) for constant in constants)
    rewrites = summarise(moved, folded.declined)
    return Built(model, constants, rewrites, evaluated.traced, count_operators(evaluated.program))


def _of_one_image(constant: Constant, repeated: Mapping[str, int]) -> Constant:
    """Return what the graph holds of a constant that was made for each of `SMALL` images along an axis."""
    axis = repeated.get(constant.name)
    if axis is None or constant.shape[axis] < SMALL:  # a repeated axis counts as 1 already
        return constant
    shape = (*constant.shape[:axis], constant.shape[axis] // SMALL, *constant.shape[axis + 1 :])
    return replace(constant, shape=shape, bytes=constant.bytes // SMALL)


def _folded(constants: Iterable[Constant], folded: Folded) -> tuple[Constant, ...]:
    """Return what became of the constants where the graph was folded.

    One stands for all those of a sum: it bears the name and module of the first, and says what all of them were made
    from.
    """
    by_name = {constant.name: constant for constant in constants}
    for name in folded.changed & by_name.keys():
        by_name[name] = replace(by_name[name], folded="with scales and shifts folded in")
    for name in folded.gone & by_name.keys():
        by_name[name] = replace(by_name[name], folded="folded into weights", shape=(), bytes=0)
    for names, shape in folded.merged:
        parts = [by_name[name] for name in names if name in by_name]
        if not parts:
            continue
        first = parts[0]
        for other in parts[1:]:
            del by_name[other.name]
        by_name[first.name] = replace(
            first,
            work=tuple(dict.fromkeys(step for part in parts for step in part.work)),
            sources=tuple(dict.fromkeys(source for part in parts for source in part.sources)),
            used_by=tuple(dict.fromkeys(user for part in parts for user in part.used_by)),
            shape=shape,
            bytes=first.bytes // math.prod(first.shape) * math.prod(shape),
        )
    return tuple(by_name.values())


def _as_stored(constant: Constant, cuts: Iterable[Cut]) -> Constant:
    """Return what the graph holds of a constant: a part, if nothing reads the rest."""
    for cut in cuts:
        if (cut.name, cut.whole, cut.elsewhere) == (constant.name, constant.shape, False):
            return replace(constant, shape=cut.left, bytes=constant.bytes - cut.spared)
    return constant


@dataclass(frozen=True)
class _Evaluated:
    program: ExportedProgram
    constants: tuple[Constant, ...]
    traced: Counter[str]


def _evaluate(network: nn.Module, example: Tensor, images: int) -> _Evaluated:
    """Return what is left to compute for a batch of so many images."""
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
        value.const_value = None  # the graph's list of inputs keeps what it once held
        model.graph.register_initializer(stored)
    return model


def _check_logits(program: ExportedProgram, images: int) -> None:
    outputs = program.graph.output_node().all_input_nodes
    shapes = [tuple(node.meta["val"].shape) for node in outputs if isinstance(node.meta.get("val"), Tensor)]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][0] != images:
        returned = ", ".join(map(str, shapes)) or "no tensor"
        raise ExportError(
            f"with {images} images the network returns {returned}; expected logits ({images}, classes): wrap it in a "
            "module that returns these alone"
        )
    dtype = outputs[0].meta["val"].dtype
    if dtype != torch.float32:
        raise ExportError(f"the network's logits are {plain_type(dtype)}; expected float32: return .float() of them")


def describe_graph(model: ir.Model) -> Graph:
    """Return what a manifest says of a graph; of what it was before, the caller knows more."""
    nodes = list(all_nodes(model))
    return Graph(
        opset=model.opset_imports[""],
        nodes=len(nodes),
        ops=dict(sorted(Counter(node.op_type for node in nodes).items())),
        constant_only_nodes=count_constant_only(model),
        table_gathers=sum(_reads_a_table(node) for node in nodes),
    )


def _reads_a_table(node: ir.Node) -> bool:
    data = node.inputs[0] if node.inputs else None
    return node.op_type in _GATHERS and data is not None and data.is_initializer()
