"""`torchvision:<name>`: a network of torchvision, torchvision's own module.

Images are prepared as for its default weights.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from artifact import Preprocess
from models.sources.base import Checkpoint, Loaded, Overrides, Pretrained, RandomWeights, SourceError, Weights
from models.sources.checkpoints import Contents, read_checkpoint
from models.sources.checkpoints.buffers import without_computed
from models.sources.checkpoints.keys import State, fit_keys
from models.sources.drawing import seeded
from models.sources.library import HEADS, SIZES, Found, load_resized
from models.sources.native import load_native, one_line, other_classes, randomise_native, resized
from models.sources.options import check_options, described
from models.sources.positions import NOTHING_KNOWN, Positions
from models.sources.torchvision_positions import in_torchvision

RESERVED = {"device", "progress", "weights", "weights_backbone"}
"""Arguments of torchvision's functions that are no options of the network."""

CLASSIFIERS = (*HEADS, "fc")
CLASSES = 1000  # of every network of torchvision that classifies single images


@dataclass(frozen=True)
class _Maker:
    """Makes one network of torchvision afresh, at any size.

    Attributes:
        name: torchvision's.
        options: of its constructor, the user's.
        built_for: (height, width) in pixels that it has with these.
    """

    name: str
    options: dict[str, Any]
    built_for: tuple[int, int]

    def __call__(
        self,
        size: tuple[int, int],
        window: int | None = None,
        *,
        device: str = "cpu",
        classes: int | None = None,
        trained: Positions = NOTHING_KNOWN,
    ) -> nn.Module:
        """Return the module for images of `size` and windows of a side.

        Args:
            size: (height, width) in pixels.
            window: in tokens; None keeps the name's.
            device: "cpu" or "meta".
            classes: None keeps the name's; the user's option comes before either.
            trained: of the module at the sizes of training, if these are others.

        Raises:
            SourceError: it cannot have that size.
        """
        from models.sources.torchvision_sizes import set_sides, set_windows, size_options

        source, of_classes = f"torchvision:{self.name}", {} if classes is None else {"num_classes": classes}
        options = of_classes | self.options
        if size != self.built_for:
            options |= size_options(source, build(self.name, pretrained=False, **self.options), size)
        network = build(self.name, pretrained=False, device=device, **options)
        if size != self.built_for:
            set_sides(network, size)
        if window is not None:
            set_windows(source, network, window, trained)
        return network


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a network as torchvision does, and give it its weights.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    from torchvision.models import get_model_weights
    from torchvision.models.vision_transformer import VisionTransformer
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
    side = model.image_size if isinstance(model, VisionTransformer) else None
    built_for = preprocess.size if side is None else (side, side)
    trained_size, window = overrides.trained_image_size or built_for, overrides.trained_window_size
    if side is not None and trained_size[0] != trained_size[1]:
        raise SourceError(f"{source}: torchvision builds it for square images, not {trained_size[0]}×{trained_size[1]}")
    make = _Maker(name, options, built_for)
    if trained_size != built_for or window is not None:
        model = make(trained_size, window, device="meta")
    stated = {"image size": overrides.trained_image_size or options.get("image_size"), "window size": window}
    found = Found(
        source,
        source,
        model,
        resized(preprocess, trained_size),
        tuple(default.meta["categories"]),
        build=lambda: make(trained_size, window),
        known=[size for size in SIZES if not isinstance(weights, Checkpoint) or stated[size] is not None],
    )
    return _load(found, make, weights, overrides)


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
        if not options:
            raise
        raise SourceError(
            f"torchvision:{name}: torchvision does not take --model-arg {described(options)} for it: {one_line(error)}"
        ) from error
    return model


def _load(found: Found, make: _Maker, weights: Weights, overrides: Overrides) -> Loaded:
    """Return torchvision's module with its weights, at the size of training or another.

    Raises:
        SourceError: weights or sizes do not fit.
    """
    trained_size, trained_window = found.preprocess.size, overrides.trained_window_size
    size, window = overrides.image_size or trained_size, overrides.window_size or trained_window
    notes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    if isinstance(weights, RandomWeights):
        with seeded(weights.seed):
            network = make(size, window)
        randomise_native(found.source, network, weights.seed, size)
    else:
        network, sized = found.model, False
        if isinstance(weights, Checkpoint):
            contents = read_checkpoint(weights)
            network = make(trained_size, trained_window, classes=_classes(found, contents))
            fitted = load_native(network, contents, found.advice, adopt=_todays_keys)
            notes, sized = fitted.notes, fitted.sized
        if (size, window) != (trained_size, trained_window):
            trained, positions = network, in_torchvision(network, trained_size)
            network = make(size, window, classes=_outputs(trained), trained=positions)
            both = (positions, in_torchvision(network, size))
            changes = load_resized(found, network, trained.state_dict(), both, overrides, sized=sized)
    return found.finish(network, size, in_torchvision(network, size).encoding, changes, notes)


def _todays_keys(state: State) -> State:
    """Return the keys of today's ViT for those of the published files."""
    return {
        key.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3."): tensor
        for key, tensor in state.items()
    }


def _classes(found: Found, contents: Contents) -> int:
    """Return the number of classes of a checkpoint, or else of the network.

    Raises:
        SourceError: a key is missing or unexpected.
    """
    expected = without_computed(found.model.state_dict())
    counters = [key for key in expected if key.endswith("num_batches_tracked")]
    heads = {key: tensor for key, tensor in expected.items() if any(part in key for part in CLASSIFIERS)}
    fitted = fit_keys(
        contents, expected, found.advice, adopt=_todays_keys, buffers=found.buffers, optional=counters, heads=[*heads]
    )
    rows = {key: tensor for key, tensor in heads.items() if tensor.shape[:1] == (CLASSES,)}
    return other_classes(fitted.state, rows, CLASSES) or CLASSES


def _outputs(model: nn.Module) -> int | None:
    """Return how many classes the last layer has; None where it is a convolution."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    return layers[-1].out_features if layers else None
