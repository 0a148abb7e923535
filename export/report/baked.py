"""Lines of the bake report: constants from partial evaluation, and position tables of the network."""

from collections.abc import Iterable

from torch import nn

from artifact import Baked
from export.tracing.evaluation import Constant
from models.sources.library_module import without_adapters

_PRODUCTS = frozenset({"bmm", "einsum", "matmul", "mv"})
_ELEMENTWISE = frozenset({"add", "mul"})


def report_constants(network: nn.Module, constants: Iterable[Constant]) -> tuple[Baked, ...]:
    """Return a line for each computed constant and each position table of the network.

    Parameters of torch layers are weights; tables of other modules are assumed to encode positions.
    """
    network = without_adapters(network)
    lines = []
    for constant in constants:
        if constant.work or _is_a_table(network, constant):
            multiplied = sorted(_PRODUCTS & set(constant.used_by))
            module = constant.module or constant.name.rpartition(".")[0]
            origin = _origin(constant, module)
            lines.append(
                Baked(
                    module=module,
                    kind="query-dependent" if multiplied else "static",
                    what=f"{origin}; multiplied by image-dependent values ({multiplied[0]})" if multiplied else origin,
                    shape=constant.shape,
                    bytes=constant.bytes,
                )
            )
    return tuple(lines)


def _origin(constant: Constant, module: str) -> str:
    sources = [source.removeprefix(f"{module}.") for source in constant.sources]
    of = f" of {', '.join(sources)}" if sources else ""
    made = f"{', '.join(constant.work)}{of}" if constant.work else ", ".join(sources)
    return f"{made}; {constant.folded}" if constant.folded else made


def _is_a_table(network: nn.Module, constant: Constant) -> bool:
    """Return whether a constant is a table: one rearranged parameter with several axes that belongs to no layer.

    Buffers count if they are added or multiplied element-wise: embeddings, rotations and masks that the network's
    constructor computed.
    """
    if len(constant.sources) != 1 or sum(size > 1 for size in constant.shape) < 2:
        return False
    owner, _, name = constant.sources[0].rpartition(".")
    try:
        module = network.get_submodule(owner)
    except AttributeError:
        return False  # a constant that was created in forward
    computed = name in module._buffers and not _ELEMENTWISE.isdisjoint(constant.used_by)
    return (name in module._parameters or computed) and not _is_a_layer(module)


def _is_a_layer(module: nn.Module) -> bool:
    """Return whether a module is a layer of torch or a subclass of one, such as timm's padded convolutions."""
    bases = {base.__module__ for base in type(module).__mro__} - {nn.Module.__module__, nn.Sequential.__module__}
    return any(base.startswith("torch.nn.modules.") for base in bases)
