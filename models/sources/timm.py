"""`timm:<name>`: timm's own module of a network.

Checkpoints have timm's keys, or keys that timm converts, such as those of the authors.
"""

import math
from typing import Any

import torch
from torch import nn

from artifact import Preprocess
from models.sources.base import (
    Checkpoint,
    Loaded,
    Overrides,
    Pretrained,
    RandomWeights,
    SourceError,
    Weights,
    one_line,
)
from models.sources.checkpoints import read_checkpoint
from models.sources.library import certain_sizes, check_options, described
from models.sources.timm_library import Timm, heads_of

RESERVED = {
    "cache_dir",
    "checkpoint_path",
    "device",
    "dtype",
    "exportable",
    "features_only",
    "in_chans",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "scriptable",
}
"""Arguments of `timm.create_model` that are not options of the network, or that other flags set."""


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a network as timm does, and load its weights.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    source = f"timm:{name}"
    options = _options(source, overrides)
    model = build(name, pretrained=isinstance(weights, Pretrained), **options)
    if getattr(model, "num_classes", None) == 0:
        options["num_classes"] = _classes_for(source, model, weights, overrides)
        model = build(name, pretrained=False, **options)
    network = Timm(
        source,
        f"timm:{name.rpartition('/')[2]}",
        model,
        _preprocess(source, model, overrides.trained_image_size),
        labels=None if "num_classes" in options else _labels(model),  # a new head has the user's labels
        known=certain_sizes(weights, overrides, configured=name.startswith(("local-dir:", "hf-hub:"))),
        make=lambda **others: build(name, pretrained=False, device="cpu", **options | others),
    )
    return network.load(weights, overrides)


def build(name: str, *, pretrained: bool, device: str = "meta", **options: Any) -> nn.Module:  # noqa: ANN401
    """Build timm's module: with its weights on the CPU if `pretrained`, otherwise without on `device`.

    Raises:
        SourceError: timm has no such network or option, or cannot get its weights.
    """
    import timm  # takes seconds, so imported only if needed

    try:
        with torch.device("cpu" if pretrained else device):
            model: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except (OSError, RuntimeError, ValueError, AssertionError, ZeroDivisionError) as error:
        what = "its weights are not available; give --checkpoint FILE" if pretrained else "timm cannot build it"
        with_options = f" with {described(options)}" if options else ""
        message = str(error).partition(chr(10))[0] or type(error).__name__
        raise SourceError(f"timm:{name}: {what}{with_options}: {message}") from error
    return model


def _options(source: str, overrides: Overrides) -> dict[str, Any]:
    """Return the options of timm's constructor for the trained network."""
    options: dict[str, Any] = check_options(source, overrides.model_args, RESERVED)
    if overrides.trained_image_size is not None:
        options["img_size"] = overrides.trained_image_size
    if overrides.trained_window_size is not None:
        options["window_size"] = overrides.trained_window_size
    if not options:
        return options
    try:
        build(source.removeprefix("timm:"), pretrained=False, **options)
    except TypeError as error:
        unknown = next((option for option in options if f"'{option}'" in str(error)), None)
        if unknown == "img_size" and "img_size" not in overrides.model_args:
            del options["img_size"]  # convolutional: accepts any size, has no tables that depend on it
            return options
        flag = "--trained-window-size" if unknown == "window_size" else f"--model-arg {unknown or described(options)}"
        raise SourceError(f"{source}: timm does not take {flag} for it: {one_line(error)}") from error
    return options


def _classes_for(source: str, model: nn.Module, weights: Weights, overrides: Overrides) -> int:
    """Return the number of classes of the head to add, for networks that timm builds without one."""
    classes = None
    match weights:
        case Checkpoint():
            state = read_checkpoint(weights).state
            heads = [f"{head}.{part}" for head in heads_of(model) for part in ("bias", "weight")]
            classes = next((len(state[key]) for key in heads if key in state), None)
        case RandomWeights():
            classes = overrides.num_classes
    if classes is None:
        raise SourceError(
            f"{source}: {type(model).__name__} has no classification head; give --checkpoint FILE of one "
            "fine-tuned to classify, or --random-weights SEED with --labels FILE, or "
            "python:PACKAGE.MODULE:FUNCTION that returns it with your head"
        )
    return classes


def _preprocess(source: str, model: nn.Module, size: tuple[int, int] | None = None) -> Preprocess:
    """Return timm's preprocessing for images of `size`; None is the size that the network was built for."""
    config = _data().resolve_model_data_config(model)
    embed = getattr(model, "patch_embed", None)
    built = getattr(embed, "img_size", None) if getattr(embed, "strict_img_size", False) else None
    height, width = size or built or config["input_size"][1:]
    scaled = (math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"]))
    by_mode: dict[str, Any] = {
        "squash": {"resize": scaled},
        # timm's ResizeKeepRatio: both sides are at least these
        "center": {"resize": scaled[0]} if height == width else {"resize": scaled, "keep_aspect": True},
    }
    if config["crop_mode"] not in by_mode:
        raise SourceError(
            f"{source}: its crop mode {config['crop_mode']} is not supported (center and squash are); "
            "give python:PATH/FILE.py:FUNCTION with a preprocessing of its own"
        )
    return Preprocess(
        **by_mode[config["crop_mode"]],
        crop=(height, width),
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
    )


def own_preprocess(source: str, module: nn.Module) -> Preprocess | None:
    """Return timm's preprocessing for a module of timm that the user built; None for any other module."""
    if not isinstance(getattr(module, "pretrained_cfg", None), dict) or not type(module).__module__.startswith("timm."):
        return None
    built_for = getattr(getattr(module, "patch_embed", None), "img_size", None)
    return _preprocess(source, module, None if built_for is None else tuple(built_for))


def _data() -> Any:  # noqa: ANN401 -- timm.data has no types
    import timm.data

    return timm.data


def _labels(model: nn.Module) -> tuple[str, ...] | None:
    subset = _data().infer_imagenet_subset(model)
    if subset is None:
        return None
    known = _data().ImageNetInfo(subset)
    return tuple(known.index_to_description(index) for index in range(known.num_classes()))
