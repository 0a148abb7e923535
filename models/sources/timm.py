"""`timm:<name>`: a network of timm, re-hosted. Checkpoints have timm's keys, or those of the authors' repository."""

import math
from typing import Any

import torch
from torch import nn

from artifact import Preprocess
from models.sources.base import Loaded, Overrides, Pretrained, SourceError, Weights
from models.sources.families import TIMM
from models.sources.rehosting import Found, rehost


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a network as timm does, and give ours its weights.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    source = f"timm:{name}"
    model = build(name, pretrained=isinstance(weights, Pretrained))
    found = Found(source, f"timm:{name.rpartition('/')[2]}", model, _preprocess(source, model), _labels(model))
    return rehost(found, TIMM, weights, overrides)


def build(name: str, *, pretrained: bool) -> nn.Module:
    """Return timm's module, with its weights if `pretrained`, else on the meta device.

    Raises:
        SourceError: timm has no such network, or cannot get its weights.
    """
    import timm  # takes seconds: only when asked for

    try:
        with torch.device("cpu" if pretrained else "meta"):
            model: nn.Module = timm.create_model(name, pretrained=pretrained)
    except (OSError, RuntimeError, ValueError) as error:
        what = "its weights cannot be had; give --checkpoint FILE" if pretrained else "timm cannot build it"
        raise SourceError(f"timm:{name}: {what}: {str(error).partition(chr(10))[0]}") from error
    return model


def _preprocess(source: str, model: nn.Module) -> Preprocess:
    config = _data().resolve_model_data_config(model)
    height, width = config["input_size"][1:]
    scaled = (math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"]))
    by_mode: dict[str, Any] = {"squash": scaled}
    if height == width:
        by_mode["center"] = scaled[0]
    if config["crop_mode"] not in by_mode:
        raise SourceError(
            f"{source}: its crop mode {config['crop_mode']} of {height}×{width} is none of this project's"
        )
    return Preprocess(
        resize=by_mode[config["crop_mode"]],
        crop=(height, width),
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
    )


def _data() -> Any:  # noqa: ANN401 -- it has no types
    import timm.data

    return timm.data


def _labels(model: nn.Module) -> tuple[str, ...] | None:
    subset = _data().infer_imagenet_subset(model)
    if subset is None:
        return None
    known = _data().ImageNetInfo(subset)
    return tuple(known.index_to_description(index) for index in range(known.num_classes()))
