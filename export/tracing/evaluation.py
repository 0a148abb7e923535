"""Partial evaluation of a traced program: nodes that do not depend on the image are computed once.

This includes gathered position tables, MLPs over offsets, rotations, masks and resampled embeddings. Results that are
inputs of image-dependent operators become constants, named after their module.
"""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature, InputKind, InputSpec, TensorArgument

from export.process.errors import ExportError
from export.tracing.program.attention import settle_masked_rows
from export.tracing.program.core import use_converted_operators
from export.tracing.program.nodes import module_of, operator_of, update_outputs, without_wrappers
from export.tracing.program.refusals import check_precision, check_random

_READ_SHAPES = frozenset(
    {"empty_like", "fill", "full_like", "new_empty", "new_full", "new_ones", "new_zeros", "ones_like", "zero"}
    | {"zeros_like"}
)
"""Operators that read only the shape and dtype of their first tensor."""
_VIEWS = frozenset(
    {"alias", "clone", "contiguous", "detach", "expand", "permute", "reshape", "slice", "squeeze", "transpose"}
    | {"t", "_to_copy", "to", "unsqueeze", "view", "select", "getitem", "flatten", "lift_fresh_copy", "unbind"}
)
"""Operators that only rearrange elements; they are not listed in `Constant.work`."""


@dataclass(frozen=True)
class Constant:
    """Constant input of an image-dependent operator: the result of partial evaluation, or a parameter.

    Attributes:
        name: name of the initialiser.
        module: path of the module that computes it.
        work: distinct operators that compute it, in order, without those that only rearrange elements.
        sources: paths of the parameters and buffers from which it is computed.
        used_by: image-dependent operators that read it.
        shape: shape, with expanded axes as 1.
        bytes: size in bytes, with expanded axes as 1.
        folded: effect of folding on it; "" for none.
    """

    name: str
    module: str
    work: tuple[str, ...]
    sources: tuple[str, ...]
    used_by: tuple[str, ...]
    shape: tuple[int, ...]
    bytes: int
    folded: str = ""


@dataclass(frozen=True)
class _Value:
    """Value of a node that does not depend on the image, and its origin."""

    value: Any  # a tensor, or several for an operator with several outputs
    work: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


class EvaluatedProgram(ExportedProgram):
    """Program in which every node depends on the image."""

    def run_decompositions(self, *arguments: Any, **options: Any) -> ExportedProgram:  # noqa: ANN401
        """Return a program whose operators torch.onnx converts: this one, or a trace of it if it has others."""
        if use_converted_operators(self.graph):
            return self
        traced: ExportedProgram = super().run_decompositions(*arguments, **options)
        return traced


def evaluate(program: ExportedProgram) -> tuple[EvaluatedProgram, tuple[Constant, ...]]:
    """Return a program in which every node depends on the image, and its constants.

    Args:
        program: program without in-place writes to constants, as returned by `export.tracing.torch_export.trace`; it is
            modified.

    Raises:
        ExportError: the output does not depend on the image, a module uses random numbers or half precision, or the
            network changes its buffers or parameters.
    """
    specs = program.graph_signature.output_specs
    changed = [str(spec.target) for spec in specs if spec.kind.name in {"BUFFER_MUTATION", "PARAMETER_MUTATION"}]
    if changed:
        raise ExportError(
            f"the network changes its buffers or parameters {', '.join(map(without_wrappers, changed))} in forward; a "
            "graph has no state between runs: change them only `if self.training` (nn.Embedding: without max_norm)"
        )
    check_random(program.graph)
    known = _evaluate_nodes(program)
    check_precision({node: None for node in program.graph.nodes if node not in known})
    for node in settle_masked_rows(program.graph, {node: value.value for node, value in known.items()}):
        known[node] = _run(node, known)
    update_outputs(program)
    if all(node in known for node in program.graph.output_node().all_input_nodes):
        raise ExportError("the network's output does not depend on the image")
    frontier = [
        node
        for node, value in known.items()
        if isinstance(value.value, Tensor) and any(user not in known for user in node.users)
    ]
    computed = [node for node in frontier if node.op == "call_function"]
    names = _names(computed, known, taken={spec.target for spec in program.graph_signature.input_specs})
    constants = tuple(_describe(node, known, names.get(node) or known[node].sources[0]) for node in frontier)
    image = next(node for node in program.graph.nodes if node.op == "placeholder" and node not in known)
    for node in computed:
        _freeze(program, node, image, known, names[node])
    tensors = {names[node]: known[node].value for node in computed}
    for node in reversed(list(known)):  # torch's dead code elimination keeps in-place operators
        if node.op == "call_function":
            program.graph.erase_node(node)
    return _rebuilt(program, tensors), constants


def _evaluate_nodes(program: ExportedProgram) -> dict[fx.Node, _Value]:
    """Run the nodes that do not depend on the image, in graph order."""
    owners = {
        spec.arg.name: spec.target
        for spec in program.graph_signature.input_specs
        if spec.kind != InputKind.USER_INPUT and spec.target is not None
    }
    known: dict[fx.Node, _Value] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in owners:
            target = owners[node.name]
            tensor = program.state_dict.get(target, program.constants.get(target))
            assert isinstance(tensor, Tensor), f"{target} is neither a state_dict entry nor a constant"
            known[node] = _Value(tensor.detach(), sources=(without_wrappers(target),))
        elif node.op == "call_function" and all(argument in known for argument in _inputs_read(node)):
            known[node] = _run(node, known)
    return known


def _inputs_read(node: fx.Node) -> list[fx.Node]:
    """Return the inputs of a node of which it reads more than the shape and dtype."""
    shaped = operator_of(node) in _READ_SHAPES
    return [argument for argument in node.all_input_nodes if not shaped or argument is not node.args[0]]


def _run(node: fx.Node, known: dict[fx.Node, _Value]) -> _Value:
    operator = node.target
    assert callable(operator)
    arguments = fx.node.map_arg((node.args, node.kwargs), lambda argument: _value_of(argument, known))
    with torch.no_grad():
        value = operator(*arguments[0], **arguments[1])
    parts = [known[argument] for argument in _inputs_read(node)]
    name = operator_of(node).rstrip("_")
    return _Value(
        value,
        _once((*(work for part in parts for work in part.work), *(() if name in _VIEWS else (name,)))),
        _once(source for part in parts for source in part.sources),
    )


def _value_of(node: fx.Node, known: dict[fx.Node, _Value]) -> Any:  # noqa: ANN401
    """Return the value of a node, or zeros of its shape if it depends on the image."""
    if node in known:
        return known[node].value
    shown = node.meta["val"]
    return torch.zeros((), dtype=shown.dtype).expand(shown.shape)


def _names(nodes: list[fx.Node], known: dict[fx.Node, _Value], taken: set[str | None]) -> dict[fx.Node, str]:
    """Return a name for each constant: that of its only source tensor, or its module and last operator."""
    names: dict[fx.Node, str] = {}
    used = {without_wrappers(name) for name in taken if name is not None}
    for node in nodes:
        tables = [source for source in known[node].sources if "index" not in source.rpartition(".")[2]]
        made = ".".join(filter(None, (module_of(node), operator_of(node).strip("_"))))
        base = f"{tables[0]}_baked" if len(tables) == 1 else f"{made}_baked"  # the graph may also contain the source
        numbered = itertools.chain([base], (f"{base}_{number}" for number in itertools.count(1)))
        name = next(name for name in numbered if name not in used)
        used.add(name)
        names[node] = name
    return names


def _freeze(program: ExportedProgram, node: fx.Node, image: fx.Node, known: dict[fx.Node, _Value], name: str) -> None:
    """Replace `node` by a new buffer for its image-dependent readers."""
    with program.graph.inserting_before(image):
        placeholder = program.graph.placeholder(f"b_{name.replace('.', '_')}")
    placeholder.meta["val"] = image.meta["val"].fake_mode.from_tensor(known[node].value, static_shapes=True)
    node.replace_all_uses_with(placeholder, delete_user_cb=lambda user: user not in known)
    signature = program.graph_signature
    position = next(i for i, spec in enumerate(signature.input_specs) if spec.kind == InputKind.USER_INPUT)
    spec = InputSpec(InputKind.BUFFER, TensorArgument(placeholder.name), name, persistent=False)
    signature.input_specs.insert(position, spec)


def _rebuilt(program: ExportedProgram, tensors: dict[str, Tensor]) -> EvaluatedProgram:
    """Return the program without dead nodes, with `tensors` as its new buffers."""
    graph = program.graph
    graph.eliminate_dead_code()
    nodes = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    kept = []
    for spec in program.graph_signature.input_specs:
        node = nodes[spec.arg.name]
        if node.users or spec.kind == InputKind.USER_INPUT:
            kept.append(spec)
        else:
            graph.erase_node(node)
    graph.lint()
    targets = {spec.target for spec in kept}
    return EvaluatedProgram(
        root=program.graph_module,
        graph=graph,
        graph_signature=ExportGraphSignature(kept, list(program.graph_signature.output_specs)),
        state_dict={name: tensor for name, tensor in program.state_dict.items() if name in targets},
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants={name: value for name, value in (program.constants | tensors).items() if name in targets},
        verifiers=program.verifiers,
    )


def _describe(node: fx.Node, known: dict[fx.Node, _Value], name: str) -> Constant:
    value = known[node].value
    shape = tuple(size if stride else 1 for size, stride in zip(value.shape, value.stride(), strict=True))
    return Constant(
        name=name,
        module=module_of(node),
        work=known[node].work,
        sources=known[node].sources,
        used_by=_once(operator_of(user) for user in node.users if user not in known),
        shape=shape,
        bytes=math.prod(shape) * value.element_size(),
    )


def _once(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
