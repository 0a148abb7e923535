"""`torchvision:<name>`: a network of torchvision, re-hosted, with the preparation of its default weights."""

import torch
from torch import nn

from artifact import Preprocess
from models.sources.base import Loaded, Overrides, Pretrained, SourceError, Weights
from models.sources.families import TORCHVISION
from models.sources.rehosting import Found, rehost


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a network as torchvision does, and give ours its weights.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    from torchvision.models import get_model_weights
    from torchvision.transforms._presets import ImageClassification

    source = f"torchvision:{name}"
    model = build(name, pretrained=isinstance(weights, Pretrained))
    default = get_model_weights(name).DEFAULT
    preset = default.transforms()
    if not isinstance(preset, ImageClassification):
        raise SourceError(f"{source} is not re-hosted; it does not classify images")
    preprocess = Preprocess(
        resize=preset.resize_size[0],
        crop=(preset.crop_size[0], preset.crop_size[0]),
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
    found = Found(source, source, model, preprocess, tuple(default.meta["categories"]))
    return rehost(found, TORCHVISION, weights, overrides)


def build(name: str, *, pretrained: bool) -> nn.Module:
    """Return torchvision's module, with its default weights if `pretrained`, else on the meta device.

    Raises:
        SourceError: torchvision has no such network, or cannot get its weights.
    """
    from torchvision.models import get_model

    try:
        with torch.device("cpu" if pretrained else "meta"):
            model: nn.Module = get_model(name, weights="DEFAULT" if pretrained else None)
    except (OSError, RuntimeError, ValueError) as error:
        what = "its weights cannot be had; give --checkpoint FILE" if pretrained else "torchvision cannot build it"
        raise SourceError(f"torchvision:{name}: {what}: {error}") from error
    return model
