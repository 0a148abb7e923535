"""Conversion of transformers' image processors to `Preprocess`, verified by running each processor.

Processors of different families interpret the same attributes differently, so the conversion is tested on an image:
red grows from left to right, green from top to bottom, blue is constant. Such an image stays linear under every resize,
so each pixel of the result shows its position in the image, and the normalisation.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from artifact import Preprocess
from models.sources.base import SourceError, one_line, problems

INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Interpolations by Pillow's numbers, which image processors use."""

HEIGHT, WIDTH, BLUE = 768, 1024, 90  # test image: sides in pixels, level of blue
TOLERANCE = 2.5  # levels of 256: 1 for each of two roundings, 0.5 for a nearest pixel
EDGE = 0.15  # share of each side where cubic filters are not linear


def preprocess_of(source: str, processor: Any) -> Preprocess:  # noqa: ANN401 -- transformers'
    """Return the preprocessing of an image processor.

    Raises:
        SourceError: the processor does anything but resize, crop, divide by 255 and normalise.
    """
    does = {name for name in ("do_resize", "do_rescale", "do_normalize") if getattr(processor, name, False)}
    flips = getattr(processor, "do_flip_channel_order", False)
    size, resample = getattr(processor, "size", None), getattr(processor, "resample", None)
    if flips or len(does) < 3 or size is None or resample is None:
        why = ", but converts RGB to BGR" if flips else ""
        raise SourceError(
            f"{source}: its image processor does not just resize, divide by 255 and normalise{why}; {_REMEDY}"
        )
    resize, crop = _sizes(processor, size)
    mean, std = (_per_channel(given) for given in (processor.image_mean, processor.image_std))
    if getattr(processor, "include_top", False):  # EfficientNet's divides by std twice
        std = tuple(value * value for value in std)
    try:
        preprocess = Preprocess.model_validate(
            {
                "resize": resize,
                "crop": crop,
                "interpolation": INTERPOLATIONS.get(int(resample)),
                "mean": mean,
                "std": std,
            }
        )
    except ValidationError as error:
        raise SourceError(
            f"{source}: its image processor, {type(processor).__name__}, cannot be converted: "
            f"{problems(error, 'sizes')}; {_REMEDY}"
        ) from error
    _try(source, processor, preprocess)
    return preprocess


_REMEDY = "correct preprocessor_config.json, or give python:PACKAGE.MODULE:FUNCTION with a preprocessing of its own"


def _per_channel(given: float | Sequence[float]) -> tuple[float, ...]:
    """Return a mean or deviation for each channel; transformers applies a single number to all channels."""
    return (given,) * 3 if isinstance(given, int | float) else tuple(given)


def _sizes(processor: Any, size: Any) -> tuple[object, tuple[int, int] | None]:  # noqa: ANN401 -- transformers'
    """Return (resize, crop) of `Preprocess`, which refuses invalid sizes."""
    crop = processor.crop_size if getattr(processor, "do_center_crop", False) else None
    cropped = None if crop is None else (crop.height, crop.width)
    shortest, share = size.shortest_edge, getattr(processor, "crop_pct", None)
    family = type(processor).__name__
    if not shortest:
        return (size.height, size.width), cropped
    if family.startswith("Levit"):
        return int(256 / 224 * shortest), cropped
    if family.startswith("ConvNext"):  # crops on its own below size 384 and squashes from there on
        square = (shortest, shortest)
        return (int(shortest / share), square) if shortest < 384 else (square, None)
    return shortest if share is None else int(shortest / share), cropped


def _try(source: str, processor: Any, preprocess: Preprocess) -> None:  # noqa: ANN401 -- transformers'
    """Run a processor and compare its result with the converted preprocessing."""
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    levels = [across * 255 / (WIDTH - 1), down * 255 / (HEIGHT - 1), np.full((HEIGHT, WIDTH), BLUE)]
    picture = np.stack(levels, axis=-1).round().astype(np.uint8)
    try:
        pixels = processor(images=picture, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    except Exception as error:
        raise SourceError(f"{source}: its image processor fails: {one_line(error)}; {_REMEDY}") from error
    if not isinstance(pixels, Tensor) or pixels.shape != (1, 3, *preprocess.size):
        shape = list(getattr(pixels, "shape", [type(pixels).__name__]))
        raise SourceError(
            f"{source}: its image processor, {type(processor).__name__}, returns {shape} instead of "
            f"{[1, 3, *preprocess.size]}, which its sizes specify; {_REMEDY}"
        )
    mean, std = (torch.tensor(part)[:, None, None] for part in (preprocess.mean, preprocess.std))
    found = (pixels[0] * std + mean) * 255
    inside = [slice(round(EDGE * side), round((1 - EDGE) * side)) for side in preprocess.size]
    off = float((found - _expected(preprocess))[:, inside[0], inside[1]].abs().max())
    if not off <= TOLERANCE:
        raise SourceError(
            f"{source}: its image processor, {type(processor).__name__}, crops or normalises differently from its "
            f"attributes, by {off:.0f} levels of 256; {_REMEDY}"
        )


def _expected(preprocess: Preprocess) -> Tensor:
    """Return the expected levels [3, height, width] of the test image after resize and crop."""
    resize = preprocess.resize
    if isinstance(resize, int):
        resize = (resize * HEIGHT // min(HEIGHT, WIDTH), resize * WIDTH // min(HEIGHT, WIDTH))
    sides = [
        _levels(before, resized, cropped)
        for before, resized, cropped in zip((HEIGHT, WIDTH), resize, preprocess.size, strict=True)
    ]
    down, across = torch.meshgrid(*sides, indexing="ij")
    return torch.stack([across, down, torch.full_like(down, BLUE)])


def _levels(before: int, resized: int, cropped: int) -> Tensor:
    """Return the level of each pixel along a side, for levels that grow from 0 to 255."""
    place = (torch.arange(cropped) + (resized - cropped) // 2 + 0.5) / resized  # 0 to 1 along the image
    return (place * before - 0.5) * 255 / (before - 1)


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of a size, which may be one number for both."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
