"""`torchvision:<name>`: a network of torchvision, re-hosted where a family takes it, else torchvision's own module.

Images are prepared as for its default weights.
"""

import torch
from torch import nn

from artifact import Preprocess
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights
from models.sources.drawing import seeded
from models.sources.families import TORCHVISION
from models.sources.native import Native, finish, load_native, one_line, other_classes, randomise_native
from models.sources.rehosting import HEADS, Found, NotRehosted, of_the_library, recognise, rehost
from models.sources.weights import read_checkpoint

CLASSES = 1000  # of every network of torchvision that classifies single images


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a network as torchvision does, and give ours its weights, or return torchvision's where ours differs.

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
        raise SourceError(f"{source} does not classify images; to give it a head, use python:PACKAGE.MODULE:FUNCTION")
    preprocess = Preprocess(
        resize=preset.resize_size[0],
        crop=(preset.crop_size[0], preset.crop_size[0]),
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
    found = Found(source, source, model, preprocess, tuple(default.meta["categories"]))
    rehosted = recognise(found, TORCHVISION, overrides)
    if isinstance(rehosted, NotRehosted):
        with of_the_library(found, rehosted):
            return _native(found, name, rehosted.reason, weights, overrides)
    return rehost(found, rehosted, weights, overrides)


def build(name: str, *, pretrained: bool, device: str = "meta", **options: object) -> nn.Module:
    """Return torchvision's module, with its default weights on the CPU if `pretrained`, else fresh on `device`.

    Raises:
        SourceError: torchvision has no such network, or cannot get its weights.
    """
    from torchvision.models import get_model

    try:
        with torch.device("cpu" if pretrained else device):
            model: nn.Module = get_model(name, weights="DEFAULT" if pretrained else None, **options)
    except (OSError, RuntimeError, ValueError) as error:
        what = "its weights cannot be had; give --checkpoint FILE" if pretrained else "torchvision cannot build it"
        raise SourceError(f"torchvision:{name}: {what}: {error}") from error
    return model


def _native(found: Found, name: str, reason: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Return torchvision's module. It resamples nothing: at another size, tables must have the shape of training.

    Raises:
        SourceError: weights or sizes do not fit.
    """
    if overrides.window_size is not None:
        raise SourceError(f"{found.source}: torchvision has no window size to choose for it; leave out --window-size")
    size = overrides.image_size or found.preprocess.size
    match weights:
        case RandomWeights(seed):
            with seeded(seed):
                network = _build_at(found, name, size)
            randomise_native(found.source, network, seed, size)
        case Checkpoint(path):
            state = read_checkpoint(path)[0]
            advice = f"Check that {found.source} is its architecture; torchvision brings no tables to another size"
            network = _build_at(found, name, size, _classes(state, found.model))
            load_native(network, state, path, advice)
        case Pretrained():
            network = found.model
            if size != found.preprocess.size:
                network = _build_at(found, name, size)
                advice = "torchvision does not bring it to that size; leave out --image-size"
                load_native(network, found.model.state_dict(), f"the checkpoint of {found.source}", advice)
    return finish(Native(found.source, found.shown, network, found.preprocess, size, found.labels, reason))


def _classes(state: dict[str, torch.Tensor], model: nn.Module) -> int:
    heads = {
        key: tensor
        for key, tensor in model.state_dict().items()
        if any(part in key for part in (*HEADS, "fc")) and tensor.shape[:1] == (CLASSES,)
    }
    return other_classes(state, heads, CLASSES) or CLASSES


def _build_at(found: Found, name: str, size: tuple[int, int], classes: int = CLASSES) -> nn.Module:
    """Return the module made for `size`; those that are made for none take any.

    Raises:
        SourceError: it cannot have that size.
    """
    options: dict[str, object] = {"num_classes": classes}
    if size == found.preprocess.size:
        return build(name, pretrained=False, device="cpu", **options)
    try:
        return build(name, pretrained=False, device="cpu", input_size=size, **options)
    except TypeError as error:
        if "unexpected keyword argument 'input_size'" not in str(error):
            raise SourceError(f"{found.source}: torchvision cannot build it at {size}: {one_line(error)}") from error
        return build(name, pretrained=False, device="cpu", **options)
