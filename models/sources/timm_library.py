"""timm's modules: key conversion, classification heads, and sizes other than those of training."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from models.sources.base import Overrides, SourceError, one_line
from models.sources.checkpoints import Contents
from models.sources.checkpoints.buffers import is_computed, without_computed
from models.sources.checkpoints.fit import Misfit, first_few, misfit_of
from models.sources.checkpoints.keys import State, fit_keys
from models.sources.library import Library
from models.sources.library_module import fill
from models.sources.positions import (
    EMBEDDING,
    NOTHING_KNOWN,
    OF_IMAGE,
    Positions,
    Table,
    joined,
    of_swin,
)

_RELATIVE = ".relative_position_bias_table"


class _Resampling(TorchFunctionMode):
    """Mode that records whether any tensor is interpolated."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        self.seen |= func is F.interpolate
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Timm(Library):
    """Network of timm.

    Attributes:
        make: builds timm's module on the CPU from options of its constructor.
    """

    make: Callable[..., nn.Module] = field(kw_only=True)

    def build(self, overrides: Overrides, trained: nn.Module | None = None, classes: int | None = None) -> nn.Module:
        """See `Library`; timm's constructor takes the sizes."""
        options: dict[str, object] = {}
        if overrides.image_size not in (None, self.preprocess.size):
            options["img_size"] = overrides.image_size
        if overrides.window_size is not None:
            options["window_size"] = overrides.window_size
        if options:
            options = _kept_windows(trained or self.model) | options
        return self._make(options if classes is None else options | {"num_classes": classes})

    def _make(self, options: dict[str, object]) -> nn.Module:
        named = ", ".join(f"{name} {value}" for name, value in options.items() if name in ("img_size", "window_size"))
        try:
            return self.make(**options)
        except TypeError as error:
            unknown = next((name for name in options if f"unexpected keyword argument '{name}'" in str(error)), None)
            if unknown is None:
                raise SourceError(f"{self.source}: timm cannot build it with {named}: {one_line(error)}") from error
            fixed = self.model.pretrained_cfg["fixed_input_size"]  # type: ignore[index]
            if unknown == "img_size" and not fixed:  # convolutional: any size, no tables that depend on it
                return self._make({name: value for name, value in options.items() if name != unknown})
            flag = "--window-size" if unknown == "window_size" else "--image-size"
            raise SourceError(f"{self.source}: timm has no option {unknown} for it; leave out {flag}") from error
        except (AssertionError, IndexError, ZeroDivisionError) as error:
            raise SourceError(f"{self.source}: timm cannot build it with {named}: {one_line(error)}") from error

    def positions(self, network: nn.Module, image_size: tuple[int, int]) -> Positions:  # noqa: ARG002
        """See `Library`; timm's modules store their sizes."""
        return in_timm(network)

    def heads(self) -> State:
        """Return the tensors of the classifiers that timm's configuration names."""
        names = heads_of(self.model)
        return {key: tensor for key, tensor in self.model.state_dict().items() if key.rpartition(".")[0] in names}

    def resize(
        self, trained: nn.Module, classes: int | None, overrides: Overrides, *, sized: bool
    ) -> tuple[nn.Module, tuple[str, ...]]:
        """See `Library`; other kinds of tables are resampled by timm's conversion."""
        if in_timm(trained).encoding is not None:
            return super().resize(trained, classes, overrides, sized=sized)
        network, before = self.build(overrides, trained, classes), trained.state_dict()
        contents = Contents(f"the checkpoint of {self.source}", dict(before), {})
        expected = without_computed(network.state_dict())
        fitted = fit_keys(contents, expected, _not_brought, adopt=lambda state: _converted(state, network))
        fill(network, fitted, _not_brought)
        misfit = misfit_of(before, network.state_dict())
        changed = [f"{key} from {list(misfit.found[key])} to {list(misfit.expected[key])}" for key in misfit.reshaped]
        resampled = (f"by timm: {first_few(changed)}",) if changed else ()
        if resampled and overrides.image_size not in (None, self.preprocess.size):
            self.check_known("image size", overrides)
        if overrides.window_size is not None:  # an MLP over offsets has the same shape for every window
            self.check_known("window size", overrides)
        return network, resampled

    def adopt(self, state: State, origin: object) -> State:
        """Return `state` under timm's keys; unchanged if timm cannot convert it, or shapes differ.

        Raises:
            SourceError: timm's conversion resamples a table, which would be a guess about the size of training.
        """
        watch = _Resampling()
        try:
            with watch:
                converted = _converted(state, self.model)
        except SourceError:
            return state
        as_they_were = {id(tensor) for tensor in state.values()}
        made = [key for key, tensor in converted.items() if id(tensor) not in as_they_were and key in state]
        if not watch.seen and all(state[key].numel() == converted[key].numel() for key in made):
            return converted
        own, heads = self.model.state_dict(), self.heads()
        if any(state[key].shape != own[key].shape for key in state if key in own and key not in heads):
            return state  # the comparison that follows names the differences
        raise SourceError(
            f"{origin} was trained at another size: timm would have to resample it. Give the size of training by "
            "--trained-image-size N|HxW or --trained-window-size N; --image-size and --window-size change it afterwards"
        )


def heads_of(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the classification layers."""
    heads: Any = model.pretrained_cfg["classifier"]  # type: ignore[index]
    return (heads,) if isinstance(heads, str) else tuple(heads or ())


def _kept_windows(trained: Any) -> dict[str, object]:  # noqa: ANN401 -- timm's
    """Return the options that keep the windows of each stage of a Swin, and in version 2 the windows of training."""
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    if not isinstance(trained, SwinTransformer | SwinTransformerV2):
        return {}
    stages: Any = trained.layers
    attentions = [stage.blocks[0].attn for stage in stages]
    kept: dict[str, object] = {"window_size": tuple(attention.window_size for attention in attentions)}
    if isinstance(trained, SwinTransformerV2):
        kept["pretrained_window_sizes"] = tuple(
            attention.pretrained_window_size if any(attention.pretrained_window_size) else attention.window_size
            for attention in attentions
        )
    return kept


def _not_brought(_: Misfit) -> str:
    return "timm cannot resample it to that size; keep the size of training"


def _converted(state: State, network: nn.Module) -> dict[str, Tensor]:
    """Return `state` after timm's conversion of checkpoints of this architecture; unchanged if there is none.

    Position tables that fit are not passed to timm, which treats tables of rectangular grids as square; nor are the
    buffers that determine the sizes of training, which timm drops.
    """
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return dict(state)
    own = network.state_dict()
    tables = [key for key in in_timm(network).tables if key in state and state[key].shape == own[key].shape]
    kept = {key: tensor for key, tensor in state.items() if key in tables or is_computed(key)}
    try:
        converted: dict[str, Tensor] = convert({key: state[key] for key in state if key not in kept}, network)
    except Exception as error:
        raise SourceError(f"timm cannot convert the checkpoint's keys: {one_line(error)}") from error
    return converted | kept


def in_timm(model: nn.Module) -> Positions:
    """Return the positions of Swin v1 and v2, and of ViT, DeiT, BEiT, EVA and the ViTs with relative biases."""
    from timm.models.beit import Beit
    from timm.models.eva import Eva
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.swin_transformer_v2 import SwinTransformerV2
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_relpos import VisionTransformerRelPos

    net: Any = model
    if isinstance(model, SwinTransformer | SwinTransformerV2):
        return of_swin(net)
    if not isinstance(model, VisionTransformer | Beit | Eva | VisionTransformerRelPos):
        return NOTHING_KNOWN
    grid = net.patch_embed.grid_size
    if grid is None:  # a network for any size, without a grid
        return NOTHING_KNOWN
    tables = {}
    embedding = getattr(net, "pos_embed", None)
    if embedding is not None:
        tables["pos_embed"] = Table(EMBEDDING, tuple(grid), extra_tokens=embedding.shape[1] - grid[0] * grid[1])
    relative = {key: Table(OF_IMAGE, tuple(grid)) for key in model.state_dict() if key.endswith(_RELATIVE)}
    tables |= relative
    if isinstance(model, Eva):
        return Positions(joined(learned=embedding is not None, **_rotary(net.rope)), tables)
    if isinstance(model, VisionTransformerRelPos):
        return Positions(_relative_bias(net), tables)
    return Positions(joined(learned=embedding is not None, beit_table=bool(relative)), tables)


def _rotary(rope: Any) -> dict[str, bool]:  # noqa: ANN401 -- one of timm's, or None
    from timm.layers.pos_embed_sincos import RotaryEmbeddingMixed

    mixed = isinstance(rope, RotaryEmbeddingMixed)
    return {"rope": rope is not None and not mixed, "rope_mixed": mixed}


def _relative_bias(net: Any) -> str | None:  # noqa: ANN401 -- timm's
    """Return the name of the bias of a VisionTransformerRelPos; None if posbake has no name for it."""
    from timm.layers.pos_embed_rel import RelPosBias, RelPosMlp

    bias = net.blocks[0].attn.rel_pos if net.shared_rel_pos is None else net.shared_rel_pos
    if isinstance(bias, RelPosBias):
        return "beit-table" if bias.prefix_tokens else "swin-table"
    return {"cr": "relpos-mlp", "swin": "swin-log-cpb"}.get(bias.mode) if isinstance(bias, RelPosMlp) else None
