"""`torchvision:<name>`: a network of torchvision, re-hosted where a family takes it, else torchvision's own module.

Images are prepared as for its default weights.
"""

from typing import Any

import torch
from torch import nn

from artifact import Preprocess
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights
from models.sources.checkpoints import Contents, read_checkpoint
from models.sources.checkpoints.advice import Advice
from models.sources.checkpoints.fit import Misfit
from models.sources.checkpoints.keys import fit_keys
from models.sources.drawing import seeded
from models.sources.families import TORCHVISION
from models.sources.native import Native, finish, load_native, one_line, other_classes, randomise_native
from models.sources.options import check_options, described
from models.sources.preprocessing import at_size
from models.sources.rehosting import HEADS, SIZES, Found, NotRehosted, of_the_library, recognise, rehost

RESERVED = {"device", "progress", "weights", "weights_backbone"}
"""Arguments of torchvision's functions that are no options of the network."""

CLASSIFIERS = (*HEADS, "fc")
CLASSES = 1000  # of every network of torchvision that classifies single images


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a network as torchvision does, and give ours its weights, or return torchvision's where ours differs.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    from torchvision.models import get_model_weights
    from torchvision.transforms._presets import ImageClassification

    source = f"torchvision:{name}"
    options = check_options(source, overrides.model_args, RESERVED)
    model = build(name, pretrained=isinstance(weights, Pretrained), **options)
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
    if overrides.trained_image_size is not None:
        options |= _size_option(source, model, overrides.trained_image_size)
        preprocess = at_size(preprocess, overrides.trained_image_size)
    window = overrides.trained_window_size
    if options and not isinstance(weights, Pretrained):
        model = build(name, pretrained=False, **options)
    if window is not None:
        _set_windows(source, model, window)

    def on_cpu() -> nn.Module:
        made = build(name, pretrained=False, device="cpu", **options)
        if window is not None:
            _set_windows(source, made, window)
        return made

    stated = {"image size": overrides.trained_image_size, "window size": window}
    known = [size for size in SIZES if not isinstance(weights, Checkpoint) or stated[size] is not None]
    categories = tuple(default.meta["categories"])
    found = Found(source, source, model, preprocess, categories, build=on_cpu, known=known)
    rehosted = recognise(found, TORCHVISION, overrides)
    if isinstance(rehosted, NotRehosted):
        with of_the_library(found, rehosted):
            return _native(found, name, options, rehosted.reason, weights, overrides)
    return rehost(found, rehosted, weights, overrides)


def build(name: str, *, pretrained: bool, device: str = "meta", **options: Any) -> nn.Module:  # noqa: ANN401
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
    except TypeError as error:
        if not options or "input_size" in options:
            raise
        raise SourceError(
            f"torchvision:{name}: torchvision does not take --model-arg {described(options)} for it: {one_line(error)}"
        ) from error
    return model


def _size_option(source: str, model: nn.Module, size: tuple[int, int]) -> dict[str, Any]:
    """Return the constructor's option for the image size of training; nothing for networks that belong to none.

    Raises:
        SourceError: it cannot have that size.
    """
    from torchvision.models.maxvit import MaxVit
    from torchvision.models.vision_transformer import VisionTransformer

    if isinstance(model, VisionTransformer):
        if size[0] != size[1]:
            raise SourceError(f"{source}: torchvision builds it for square images, not {size[0]}×{size[1]}")
        return {"image_size": size[0]}
    return {"input_size": size} if isinstance(model, MaxVit) else {}


def _set_windows(source: str, model: nn.Module, window: int) -> None:
    """Give a Swin of torchvision, whose constructors leave no choice, windows of another size.

    Raises:
        SourceError: it is no Swin.
    """
    from torchvision.models.swin_transformer import ShiftedWindowAttention, SwinTransformer

    if not isinstance(model, SwinTransformer):
        raise SourceError(f"{source}: torchvision has no window size to choose for it; leave out --trained-window-size")
    for module in model.modules():
        if isinstance(module, ShiftedWindowAttention):
            module.window_size = [window, window]
            module.shift_size = [window // 2 if shift else 0 for shift in module.shift_size]
            with torch.device(module.qkv.weight.device):
                module.define_relative_position_bias_table()
                module.define_relative_position_index()


def _native(
    found: Found, name: str, options: dict[str, Any], reason: str, weights: Weights, overrides: Overrides
) -> Loaded:
    """Return torchvision's module. It resamples nothing: at another size, tables must have the shape of training.

    Raises:
        SourceError: weights or sizes do not fit.
    """
    if overrides.window_size is not None:
        raise SourceError(f"{found.source}: torchvision has no window size to choose for it; leave out --window-size")
    size = overrides.image_size or found.preprocess.size
    notes: tuple[str, ...] = ()
    match weights:
        case RandomWeights(seed):
            with seeded(seed):
                network = _build_at(found, name, size, options)
            randomise_native(found.source, network, seed, size)
        case Checkpoint():
            contents, advise = read_checkpoint(weights), Advice(found.source, size)
            expected = found.model.state_dict()
            counters = [key for key in expected if key.endswith("num_batches_tracked")]
            heads = [key for key in expected if any(part in key for part in CLASSIFIERS)]
            fitted = fit_keys(contents, expected, advise, buffers=found.buffers, optional=counters, heads=heads)
            network = _build_at(found, name, size, options, _classes(fitted.state, found.model))
            notes = load_native(network, contents, advise)
        case Pretrained():
            network = found.model
            if size != found.preprocess.size:
                network = _build_at(found, name, size, options)
                contents = Contents(f"the checkpoint of {found.source}", found.model.state_dict(), {})
                load_native(network, contents, _not_brought)
    return finish(Native(found.source, found.shown, network, found.preprocess, size, found.labels, reason, notes=notes))


def _not_brought(_: Misfit) -> str:
    return "torchvision does not bring it to that size; leave out --image-size"


def _classes(state: dict[str, torch.Tensor], model: nn.Module) -> int:
    heads = {
        key: tensor
        for key, tensor in model.state_dict().items()
        if any(part in key for part in CLASSIFIERS) and tensor.shape[:1] == (CLASSES,)
    }
    return other_classes(state, heads, CLASSES) or CLASSES


def _build_at(
    found: Found, name: str, size: tuple[int, int], given: dict[str, Any], classes: int = CLASSES
) -> nn.Module:
    """Return the module made for `size`; those that are made for none take any.

    Raises:
        SourceError: it cannot have that size.
    """
    options = {"num_classes": classes} | given
    if size == found.preprocess.size:
        return build(name, pretrained=False, device="cpu", **options)
    try:
        return build(name, pretrained=False, device="cpu", **options | {"input_size": size})
    except TypeError as error:
        if "unexpected keyword argument 'input_size'" not in str(error):
            raise SourceError(f"{found.source}: torchvision cannot build it at {size}: {one_line(error)}") from error
        return build(name, pretrained=False, device="cpu", **options)
