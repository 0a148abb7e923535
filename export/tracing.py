"""From a network to a program of ATen operators, every size in it a plain number.

torch.export is given an example batch and no dynamic dimension. `len(x)`, `int(x.shape[0])` and views of batch times
heads then stop nothing; `export.batch` finds afterwards which numbers were the batch.
"""

import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from export.attention import unfuse_attention
from export.errors import ExportError
from models.sources.twin import share_tensors

_ATEN = torch.ops.aten
_POOLS = {_ATEN.adaptive_avg_pool1d.default: [-1], _ATEN.adaptive_avg_pool2d.default: [-2, -1]}


def trace(network: nn.Module, example: Tensor) -> ExportedProgram:
    """Return what `network` does with a batch like `example`, attention unfused, no constant changed in place.

    The network is left as it is: what it caches while it runs (LeViT its biases) is kept from it.

    Args:
        network: in eval mode.
        example: one batch of images.

    Raises:
        ExportError: torch.export cannot follow the network; the message names the module in which it stopped.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings(), _quietly():
            # What modules keep for later is kept in a twin that is thrown away.
            warnings.filterwarnings("ignore", "The tensor attributes? .* (was|were) assigned during export")
            program = torch.export.export(share_tensors(network), (example,), strict=False)
    except Exception as error:  # whatever the network's own code or torch.export raises
        module = _module_that_stops(network, example)
        raise ExportError(
            f"torch.export cannot follow the network{f' in {module}' if module else ''}: "
            f"{type(error).__name__}: {first_line(error)}. What it computes must not steer Python code: replace "
            "`if tensor`, `.item()`, `.tolist()` and calls into other libraries by tensor operations"
        ) from error
    for node in list(program.graph.nodes):
        if node.target is _ATEN.view.default:  # what another attention returns may be laid out otherwise
            node.target = _ATEN.reshape.default
        elif node.target is _ATEN.dropout.default and not node.args[2]:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
        elif node.target in _POOLS and set(node.args[1]) == {1}:  # torch.onnx would make as_strided of it
            node.target, node.args = _ATEN.mean.dim, (node.args[0], _POOLS[node.target], True)
    unfuse_attention(program.graph)
    return program.run_decompositions({}) if _changes_constants(program) else program


def _changes_constants(program: ExportedProgram) -> bool:
    """Whether an in-place operator writes to a constant that something else may read: then order matters."""
    image = {spec.arg.name for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT}
    dependent: set[torch.fx.Node] = set()
    for node in program.graph.nodes:
        if node.name in image or any(argument in dependent for argument in node.all_input_nodes):
            dependent.add(node)
        if not isinstance(node.target, torch._ops.OpOverload) or not node.target._schema.is_mutable:
            continue
        written = node.args[0]
        assert isinstance(written, torch.fx.Node)
        if written not in dependent and (len(written.users) > 1 or not _makes_its_result(written)):
            return True
    return False


def _makes_its_result(node: torch.fx.Node) -> bool:
    """Whether a node returns new memory, not a view of what it was given."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    schema = node.target._schema
    return all(argument.alias_info is None for argument in (*schema.arguments, *schema.returns))


def count_operators(program: ExportedProgram) -> Counter[str]:
    """Return how often each ATen operator stands in a program, by plain name: `add` for `aten.add.Tensor`."""
    return Counter(operator_of(node) for node in program.graph.nodes if node.op == "call_function")


def operator_of(node: torch.fx.Node) -> str:
    """Return the plain name of a node's operator."""
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.name.rpartition("::")[2]
    return str(getattr(node.target, "__name__", node.target))


def module_of(node: torch.fx.Node) -> str:
    """Return the path of the innermost module that made a node; "" is the network itself."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()))[0] if stack else ""
    return without_wrappers(path)


def without_wrappers(path: str) -> str:
    """Return a module's path in the user's network: what is wrapped around it calls it `network`."""
    while path == "network" or path.startswith("network."):
        path = path.removeprefix("network").removeprefix(".")
    return path


def first_line(error: BaseException) -> str:
    """Return what an error says before it goes into detail."""
    return str(error).strip().split("\n", 1)[0]


def _module_that_stops(network: nn.Module, example: Tensor) -> str:
    """Trace again, and return the path and class of the module that was running when it failed."""
    clone = share_tensors(network)
    with _running_modules(clone) as running:
        try:
            with torch.no_grad(), _quietly():
                torch.export.export(clone, (example,), strict=False)
        except Exception:  # noqa: BLE001 -- raised before, and told; here only the place is wanted
            return running[-1] if running else ""
    return ""


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep torch from printing tracebacks and half-made graphs of what is raised, and told, anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@contextmanager
def _running_modules(network: nn.Module) -> Iterator[list[str]]:
    """Keep a list of the modules whose forward has begun and not ended, the innermost last."""
    running: list[str] = []
    handles = []
    for path, module in network.named_modules():
        name = f"{without_wrappers(path)} ({type(module).__name__})".strip()
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
        handles.append(module.register_forward_hook(lambda *_: running.pop() and None))
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()
