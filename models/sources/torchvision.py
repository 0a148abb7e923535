"""`torchvision:<name>`: torchvision's own module of a network.

Preprocessing is that of its default weights.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from artifact import Preprocess
from models.sources.base import Loaded, Overrides, Pretrained, SourceError, Weights, one_line
from models.sources.checkpoints.keys import State
from models.sources.library import Library, certain_sizes, check_options, described
from models.sources.positions import NOTHING_KNOWN, Positions
from models.sources.preprocessing import at_size

RESERVED = {"device", "progress", "weights", "weights_backbone"}
"""Arguments of torchvision's functions that are not options of the network."""

HEADS = ("head", "classifier", "fc")
"""Name components of tensors with a row for each class."""

CLASSES = 1000  # of all image classification networks of torchvision


@dataclass(frozen=True)
class Torchvision(Library):
    """Network of torchvision.

    Attributes:
        name: torchvision's.
        options: the user's options for its constructor; they take precedence over a checkpoint's number of classes.
        built_for: (height, width) in pixels with these options.
        window: window size of training; None is the default of the name.
    """

    name: str = field(kw_only=True)
    options: dict[str, Any] = field(kw_only=True)
    built_for: tuple[int, int] = field(kw_only=True)
    window: int | None = field(kw_only=True)

    def build(
        self, overrides: Overrides, trained: nn.Module | None = None, classes: int | None = None, device: str = "cpu"
    ) -> nn.Module:
        """See `Library`; `device` is "cpu" or "meta"."""
        from models.sources.torchvision_sizes import set_sides, set_windows, size_options

        size, window = overrides.image_size or self.preprocess.size, overrides.window_size or self.window
        options = ({} if classes is None else {"num_classes": classes}) | self.options
        if size != self.built_for:
            options |= size_options(self.source, build(self.name, pretrained=False, **self.options), size)
        network = build(self.name, pretrained=False, device=device, **options)
        if size != self.built_for:
            set_sides(network, size)
        if window is not None:
            positions = NOTHING_KNOWN if trained is None else self.positions(trained, self.preprocess.size)
            set_windows(self.source, network, window, positions)
        return network

    def positions(self, network: nn.Module, image_size: tuple[int, int]) -> Positions:
        """See `Library`."""
        from models.sources.torchvision_sizes import in_torchvision

        return in_torchvision(network, image_size)

    def heads(self) -> State:
        """See `Library`."""
        rows = self.options.get("num_classes", CLASSES)
        state = self.model.state_dict()
        return {key: part for key, part in state.items() if part.shape[:1] == (rows,) and any(h in key for h in HEADS)}

    def adopt(self, state: State, origin: object) -> State:  # noqa: ARG002
        """Convert the keys of published files to those of the current ViT."""
        return {
            key.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3."): tensor
            for key, tensor in state.items()
        }


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a network as torchvision does, and load its weights.

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
        raise SourceError(f"{source} does not classify images; to add a head, use python:PACKAGE.MODULE:FUNCTION")
    preprocess = Preprocess(
        resize=preset.resize_size[0],
        crop=(preset.crop_size[0], preset.crop_size[0]),
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
    side = model.image_size if isinstance(model, VisionTransformer) else None
    built_for = preprocess.size if side is None else (side, side)
    size, window = overrides.trained_image_size or built_for, overrides.trained_window_size
    if side is not None and size[0] != size[1]:
        raise SourceError(f"{source}: torchvision builds it for square images, not {size[0]}×{size[1]}")
    network = Torchvision(
        source,
        source,
        model,
        at_size(preprocess, size),
        labels=tuple(default.meta["categories"]),
        known=certain_sizes(weights, overrides),
        name=name,
        options=options,
        built_for=built_for,
        window=window,
    )
    if size != built_for or window is not None:
        network = replace(network, model=network.build(Overrides(), device="meta"))
    return network.load(weights, overrides)


def build(name: str, *, pretrained: bool, device: str = "meta", **options: Any) -> nn.Module:  # noqa: ANN401
    """Build torchvision's module: with default weights on the CPU if `pretrained`, otherwise without on `device`.

    Raises:
        SourceError: torchvision has no such network, or cannot get its weights.
    """
    from torchvision.models import get_model

    try:
        with torch.device("cpu" if pretrained else device):
            model: nn.Module = get_model(name, weights="DEFAULT" if pretrained else None, **options)
    except (OSError, RuntimeError, ValueError) as error:
        what = "its weights are not available; give --checkpoint FILE" if pretrained else "torchvision cannot build it"
        raise SourceError(f"torchvision:{name}: {what}: {error}") from error
    except TypeError as error:
        if not options:
            raise
        raise SourceError(
            f"torchvision:{name}: torchvision does not take --model-arg {described(options)} for it: {one_line(error)}"
        ) from error
    return model
