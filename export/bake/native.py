"""The network of another library as it is, which partial evaluation bakes while it is traced."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from artifact import Baked
from export.bake.layers import Normalisation
from export.evaluation import Constant
from models.sources.native import without_adapters

_CONTAINER = nn.Sequential.__module__
_PRODUCTS = frozenset({"bmm", "einsum", "matmul", "mv"})


class NativeForm(nn.Module):
    """A network behind the input that its artifact takes; it shares the network's tensors.

    Args:
        network: maps float32 [B, 3, height, width] to logits [B, classes].
        pixels: see `export.bake.bake`.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, pixels: Normalisation | None) -> None:
        super().__init__()
        self.network = network
        self.takes_pixels = pixels is not None
        if pixels is not None:
            mean, std = (torch.tensor(part, dtype=torch.float64).reshape(3, 1, 1) for part in (pixels.mean, pixels.std))
            self.register_buffer("scale", (1 / (255 * std)).float())
            self.register_buffer("shift", (-mean / std).float())

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 [B, height, width, 3], or what the network takes, to logits [B, classes]."""
        if self.takes_pixels:
            image = image.float().permute(0, 3, 1, 2) * self.scale + self.shift  # TensorRT takes uint8 for a Cast alone
        logits: Tensor = self.network(image)
        return logits


def report_constants(network: nn.Module, constants: Iterable[Constant]) -> tuple[Baked, ...]:
    """Return a line for each constant that was computed, and for each table that the network itself holds.

    Weights of layers are no position work; a table that a module owns which is no layer of torch is taken for some.
    """
    if isinstance(network, NativeForm):
        network = without_adapters(network.network)
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
                    what=f"{origin}; {multiplied[0]} multiplies it with what depends on the image"
                    if multiplied
                    else origin,
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
    """Whether a constant is one parameter, in whatever arrangement, of more than one axis, owned by no layer."""
    if len(constant.sources) != 1 or sum(size > 1 for size in constant.shape) < 2:
        return False
    owner, _, name = constant.sources[0].rpartition(".")
    try:
        module = network.get_submodule(owner)
    except AttributeError:
        return False  # a constant of the trace
    return name in module._parameters and not _is_a_layer(module)


def _is_a_layer(module: nn.Module) -> bool:
    """Whether a module is one of torch's layers or a library's variety of one: timm has convolutions that pad."""
    bases = {base.__module__ for base in type(module).__mro__} - {nn.Module.__module__, nn.Sequential.__module__}
    return any(base.startswith("torch.nn.modules.") for base in bases)
