"""`timm:<name>`: a network of timm, re-hosted where a family takes it, else timm's own module.

Checkpoints have timm's keys, or others that timm's own conversion (or the family's) takes, as those of the authors.
"""

import math
from typing import Any

import torch
from torch import nn

from artifact import Preprocess
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights
from models.sources.families import TIMM
from models.sources.preprocessing import at_size
from models.sources.rehosting import Found, NotRehosted, of_the_library, recognise, rehost
from models.sources.timm_native import classes_in, load_timm
from models.sources.weights import read_checkpoint


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a network as timm does, and give ours its weights, or return timm's where ours differs.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    source = f"timm:{name}"
    model = build(name, pretrained=isinstance(weights, Pretrained))
    head: dict[str, Any] = {}
    if getattr(model, "num_classes", None) == 0:
        head = {"num_classes": _classes_for(source, model, weights, overrides)}
        model = build(name, pretrained=False, **head)
    labels = None if head else _labels(model)  # a head of the user's has the user's classes
    found = Found(source, f"timm:{name.rpartition('/')[2]}", model, _preprocess(source, model), labels)
    rehosted = recognise(found, TIMM, overrides)
    if not isinstance(rehosted, NotRehosted):
        return rehost(found, rehosted, weights, overrides)

    def on_cpu(**options: Any) -> nn.Module:  # noqa: ANN401 -- timm's
        return build(name, pretrained=False, device="cpu", **head | options)

    with of_the_library(found, rehosted):
        return load_timm(found, on_cpu, rehosted.reason, weights, overrides)


def build(name: str, *, pretrained: bool, device: str = "meta", **options: Any) -> nn.Module:  # noqa: ANN401
    """Return timm's module, with its weights on the CPU if `pretrained`, else fresh on `device`.

    Raises:
        SourceError: timm has no such network, or cannot get its weights.
    """
    import timm  # takes seconds: only when asked for

    try:
        with torch.device("cpu" if pretrained else device):
            model: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except (OSError, RuntimeError, ValueError) as error:
        what = "its weights cannot be had; give --checkpoint FILE" if pretrained else "timm cannot build it"
        raise SourceError(f"timm:{name}: {what}: {str(error).partition(chr(10))[0]}") from error
    return model


def _classes_for(source: str, model: nn.Module, weights: Weights, overrides: Overrides) -> int:
    """Return how many classes the head shall have that timm leaves out.

    Raises:
        SourceError: nothing says how many, or nothing says what its weights are.
    """
    classes = None
    match weights:
        case Checkpoint(path):
            classes = classes_in(read_checkpoint(path)[0], model)
        case RandomWeights():
            classes = overrides.num_classes
    if classes is None:
        raise SourceError(
            f"{source}: {type(model).__name__} has no classification head there; give --checkpoint FILE of one "
            "fine-tuned to classify, or --random-weights SEED with --labels FILE, or "
            "python:PACKAGE.MODULE:FUNCTION that returns it with a head of yours"
        )
    return classes


def _preprocess(source: str, model: nn.Module) -> Preprocess:
    config = _data().resolve_model_data_config(model)
    height, width = config["input_size"][1:]
    scaled = (math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"]))
    by_mode: dict[str, Any] = {"squash": scaled}
    if height == width:
        by_mode["center"] = scaled[0]
    if config["crop_mode"] not in by_mode:
        raise SourceError(
            f"{source}: its crop mode {config['crop_mode']} of {height}×{width}, which are not alike, is none of this "
            'project\'s; write "crop_mode": "squash" in the folder\'s config.json if images may be resized to '
            f"{scaled[0]}×{scaled[1]} whatever their shape, or give python:PATH/FILE.py:FUNCTION with a preprocessing"
        )
    return Preprocess(
        resize=by_mode[config["crop_mode"]],
        crop=(height, width),
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
    )


def own_preprocess(source: str, module: nn.Module) -> Preprocess | None:
    """Return how images are prepared for a module of timm that someone else built; None for any other module."""
    if not isinstance(getattr(module, "pretrained_cfg", None), dict) or not type(module).__module__.startswith("timm."):
        return None
    preprocess = _preprocess(source, module)
    built_for = getattr(getattr(module, "patch_embed", None), "img_size", None)
    return preprocess if built_for in (None, preprocess.size) else at_size(preprocess, tuple(built_for))


def _data() -> Any:  # noqa: ANN401 -- it has no types
    import timm.data

    return timm.data


def _labels(model: nn.Module) -> tuple[str, ...] | None:
    subset = _data().infer_imagenet_subset(model)
    if subset is None:
        return None
    known = _data().ImageNetInfo(subset)
    return tuple(known.index_to_description(index) for index in range(known.num_classes()))
