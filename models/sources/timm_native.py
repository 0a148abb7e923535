"""timm's own module with weights: its key conversion, its heads, and another size than that of training."""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from models.sources.base import Checkpoint, Loaded, Overrides, RandomWeights, SourceError, Weights
from models.sources.drawing import seeded
from models.sources.native import Native, changed_shapes, finish, load_native, one_line, randomise_native
from models.sources.rehosting import Found
from models.sources.weights import check_fit, read_checkpoint

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


def load_timm(found: Found, build: Build, reason: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Return timm's module with its weights, at the size of training or another.

    Args:
        found: what timm knows of the name; its module has its weights for `Pretrained`.
        build: makes the module afresh.
        reason: why it is not re-hosted.
        weights: where they come from.
        overrides: sizes, which timm's constructor takes and timm's conversion brings tables to.

    Raises:
        SourceError: weights or sizes do not fit.
    """
    sizes, size = _sizes(found, overrides), overrides.image_size or found.preprocess.size
    resampled: tuple[str, ...] = ()
    if isinstance(weights, RandomWeights):
        with seeded(weights.seed):
            network = _build_at(found, build, sizes)
        randomise_native(found.source, network, weights.seed, size)
    else:
        network = _trained(found, build, weights.path) if isinstance(weights, Checkpoint) else found.model
        if sizes:
            before = network.state_dict()
            network = _build_at(found, build, sizes | {"num_classes": network.num_classes})
            state = _converted(before, network)
            advice = "timm does not bring it to that size; keep that of training"
            load_native(network, state, f"the checkpoint of {found.source}", advice)
            resampled = changed_shapes(before, network.state_dict(), "timm")
    return finish(
        Native(
            source=found.source,
            shown=found.shown,
            network=network,
            preprocess=found.preprocess,
            image_size=size,
            labels=found.labels,
            reason=reason,
            resampled=resampled,
        )
    )


def classes_in(state: Mapping[str, Tensor], model: nn.Module) -> int | None:
    """Return the number of classes of a checkpoint for `model`; None if it has no head of timm's name."""
    heads: Any = model.pretrained_cfg["classifier"]  # type: ignore[index]
    for head in (heads,) if isinstance(heads, str) else heads or ():
        for part in ("bias", "weight"):
            if f"{head}.{part}" in state:
                return len(state[f"{head}.{part}"])
    return None


def _trained(found: Found, build: Build, path: Path) -> nn.Module:
    raw = read_checkpoint(path)[0]
    advice = f"Check that {found.source} is its architecture at the size of its training; --image-size changes it later"
    classes = None
    watch = _Resampling()
    try:
        with watch:
            classes = classes_in(_converted(raw, found.model), found.model)
            network = build() if classes is None else build(num_classes=classes)
            state = _converted(raw, network)
    except SourceError:
        check_fit(raw, found.model.state_dict(), path, advice)
        raise
    resized = any(key in raw and raw[key].numel() != tensor.numel() for key, tensor in state.items())
    if watch.seen or resized:
        raise SourceError(f"{path} is of another size than {found.source}: timm would have to resample it. {advice}")
    load_native(network, state, path, advice)
    return network


def _converted(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return `state` as timm converts checkpoints of this architecture; as it is where timm converts none.

    Raises:
        SourceError: timm's conversion fails on it.
    """
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return dict(state)
    try:
        converted: dict[str, Tensor] = convert(dict(state), network)
    except Exception as error:
        raise SourceError(f"timm cannot convert the checkpoint's keys: {one_line(error)}") from error
    return converted


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
