"""timm's own module with weights: its key conversion, its heads, and another size than that of training."""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from models.sources.base import Checkpoint, Loaded, Overrides, RandomWeights, SourceError, Weights
from models.sources.checkpoints import Contents, read_checkpoint
from models.sources.checkpoints.buffers import is_computed
from models.sources.checkpoints.fit import Misfit
from models.sources.checkpoints.keys import State, fit_keys
from models.sources.drawing import seeded
from models.sources.library import Found, check_known, load_resized
from models.sources.native import changed_shapes, load_native, one_line, randomise_native
from models.sources.timm_positions import in_timm

Build = Callable[..., nn.Module]
"""timm's module on the CPU, made with the options of its constructor that are given."""


class _Resampling(TorchFunctionMode):
    """Notices whether anything is interpolated, under whatever name the result goes on."""

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


def load_timm(found: Found, build: Build, weights: Weights, overrides: Overrides) -> Loaded:
    """Return timm's module with its weights, at the size of training or another.

    Args:
        found: what timm knows of the name; its module has its weights for `Pretrained`.
        build: makes the module afresh.
        weights: where they come from.
        overrides: sizes, which timm's constructor takes.

    Raises:
        SourceError: weights or sizes do not fit.
    """
    sizes, size = _sizes(found, overrides), overrides.image_size or found.preprocess.size
    resampled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if isinstance(weights, RandomWeights):
        with seeded(weights.seed):
            network = _build_at(found, build, _kept_windows(found.model) | sizes if sizes else {})
        randomise_native(found.source, network, weights.seed, size)
    else:
        network, sized = found.model, False
        if isinstance(weights, Checkpoint):
            network, contents = _trained(found, build, weights)
            notes, sized = contents.notes, contents.sized
        if sizes:
            network, resampled = _at_sizes(found, build, network, sizes, overrides, sized=sized)
    return found.finish(network, size, in_timm(network).encoding, resampled, notes)


def _at_sizes(
    found: Found,
    build: Build,
    trained: nn.Module,
    sizes: dict[str, object],
    overrides: Overrides,
    *,
    sized: bool,
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the module at other sizes than those of training, and a sentence for each table that was resampled.

    Tables of the kinds known here are resampled by the method of their authors, others by timm's conversion.
    """
    options = _kept_windows(trained) | sizes | {"num_classes": trained.num_classes}
    network = _build_at(found, build, options)
    before, positions = trained.state_dict(), in_timm(trained)
    if positions.encoding is not None:
        return network, load_resized(found, network, before, (positions, in_timm(network)), overrides, sized=sized)
    contents = Contents(f"the checkpoint of {found.source}", dict(before), {})
    load_native(network, contents, _not_brought, adopt=lambda state: _converted(state, network))
    resampled = changed_shapes(before, network.state_dict(), "timm")
    if resampled and "img_size" in sizes:
        check_known(found, "image size", overrides)
    if "window_size" in sizes:  # a network over offsets has the same shape for every window
        check_known(found, "window size", overrides)
    return network, resampled


def _kept_windows(trained: Any) -> dict[str, object]:  # noqa: ANN401 -- timm's
    """Return the options by which a Swin keeps the windows of each stage, and version 2 the windows of training."""
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
    return "timm does not bring it to that size; keep that of training"


def classes_in(state: Mapping[str, Tensor], model: nn.Module) -> int | None:
    """Return the number of classes of a checkpoint for `model`; None if it has no head of timm's name."""
    for head in _heads(model):
        for part in ("bias", "weight"):
            if f"{head}.{part}" in state:
                return len(state[f"{head}.{part}"])
    return None


def _heads(model: nn.Module) -> tuple[str, ...]:
    heads: Any = model.pretrained_cfg["classifier"]  # type: ignore[index]
    return (heads,) if isinstance(heads, str) else tuple(heads or ())


def _is_head(model: nn.Module, key: str) -> bool:
    return key.rpartition(".")[0] in _heads(model)


def _trained(found: Found, build: Build, weights: Checkpoint) -> tuple[nn.Module, Contents]:
    """Return the module with a checkpoint's weights, at the sizes that it was built for, and what was taken of it.

    Raises:
        SourceError: they do not fit, or only if timm resamples them.
    """
    contents, advise = read_checkpoint(weights), found.advice

    def adopt(state: State) -> State:
        return _unresampled(state, found.model, contents.origin)

    expected = found.model.state_dict()
    counters = [key for key in expected if key.endswith("num_batches_tracked")]
    heads = [key for key in expected if _is_head(found.model, key)]
    fitted = fit_keys(contents, expected, advise, adopt=adopt, buffers=found.buffers, optional=counters, heads=heads)
    classes = classes_in(fitted.state, found.model)
    network = build() if classes is None else build(num_classes=classes)
    fitted = load_native(network, contents, advise, adopt=lambda state: _unresampled(state, network, contents.origin))
    return network, fitted


def _unresampled(state: State, network: nn.Module, origin: Path | str) -> State:
    """Return `state` under timm's keys; as it is where timm cannot convert it, or shapes differ.

    Raises:
        SourceError: timm's conversion brings a table to another size, which would be a guess about that of training.
    """
    watch = _Resampling()
    try:
        with watch:
            converted = _converted(state, network)
    except SourceError:
        return state
    as_they_were = {id(tensor) for tensor in state.values()}
    made = [key for key, tensor in converted.items() if id(tensor) not in as_they_were and key in state]
    if not watch.seen and all(state[key].numel() == converted[key].numel() for key in made):
        return converted
    own = network.state_dict()
    shared = [key for key in state if key in own and not _is_head(network, key)]
    if any(state[key].shape != own[key].shape for key in shared):  # what differs is named, with advice on it
        return state
    raise SourceError(
        f"{origin} was trained at another size: timm would have to resample it. Give the size of training by "
        "--trained-image-size N|HxW or --trained-window-size N; --image-size and --window-size change it afterwards"
    )


def _converted(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return `state` as timm converts checkpoints of this architecture; as it is where timm converts none.

    Position tables that fit are kept from timm, which takes those of oblong grids for square ones; so are the buffers
    that say the sizes of training, which it drops.

    Raises:
        SourceError: timm's conversion fails on it.
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


def _sizes(found: Found, overrides: Overrides) -> dict[str, object]:
    """Return the options of timm's constructor for the sizes that are not those of training."""
    sizes: dict[str, object] = {}
    if overrides.image_size not in (None, found.preprocess.size):
        sizes["img_size"] = overrides.image_size
    if overrides.window_size is not None:
        sizes["window_size"] = overrides.window_size
    return sizes


def _build_at(found: Found, build: Build, options: dict[str, object]) -> nn.Module:
    """Return the module at a size.

    Raises:
        SourceError: its constructor does not take that size, or none at all.
    """
    named = ", ".join(f"{name} {value}" for name, value in options.items() if name in ("img_size", "window_size"))
    try:
        return build(**options)
    except TypeError as error:
        unknown = next((name for name in options if f"unexpected keyword argument '{name}'" in str(error)), None)
        if unknown is None:
            raise SourceError(f"{found.source}: timm cannot build it with {named}: {one_line(error)}") from error
        fixed = found.model.pretrained_cfg["fixed_input_size"]  # type: ignore[index]
        if unknown == "img_size" and not fixed:  # convolutions, which take any size and have nothing that knows it
            return _build_at(found, build, {name: value for name, value in options.items() if name != unknown})
        flag = "--window-size" if unknown == "window_size" else "--image-size"
        raise SourceError(f"{found.source}: timm has no {unknown} for it; leave out {flag}") from error
    except (AssertionError, IndexError, ZeroDivisionError) as error:
        raise SourceError(f"{found.source}: timm cannot build it with {named}: {one_line(error)}") from error
