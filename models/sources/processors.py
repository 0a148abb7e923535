"""transformers' image processors in this project's terms, and the proof that each does no more and no less.

Processors of different families read the same attributes differently, so what is read from them is tried: a picture
whose red grows from left to right, whose green grows from top to bottom and whose blue is the same everywhere stays
linear under every resize, so each pixel of the result tells which point of the picture it shows, and in what units.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from artifact import Preprocess
from models.sources.base import SourceError, one_line

INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""By the numbers that Pillow gave them, which image processors use."""

HEIGHT, WIDTH, BLUE = 768, 1024, 90  # of the picture that a processor is tried on, in pixels; its blue
TOLERANCE = 2.5  # levels of 256: each of two roundings loses one, a nearest pixel a half
EDGE = 0.15  # of each side, where cubic filters bend what is linear elsewhere


def preprocess_of(source: str, processor: Any) -> Preprocess:  # noqa: ANN401 -- theirs
    """Return what an image processor does to an image.

    Raises:
        SourceError: it does something else than resize, crop, divide by 255 and normalise.
    """
    does = {name for name in ("do_resize", "do_rescale", "do_normalize") if getattr(processor, name, False)}
    flips = getattr(processor, "do_flip_channel_order", False)
    size, resample = getattr(processor, "size", None), getattr(processor, "resample", None)
    if flips or len(does) < 3 or size is None or resample is None:
        why = ", but turns RGB into BGR" if flips else ""
        raise SourceError(
            f"{source}: its image processor does not resize, divide by 255 and normalise as is done here{why}; "
            f"{_REMEDY}"
        )
    resize, crop = _sizes(processor, size)
    std = tuple(processor.image_std)
    if getattr(processor, "include_top", False):  # EfficientNet's divides by it twice
        std = tuple(value * value for value in std)
    try:
        preprocess = Preprocess.model_validate(
            {
                "resize": resize,
                "crop": crop,
                "interpolation": INTERPOLATIONS.get(int(resample)),
                "mean": tuple(processor.image_mean),
                "std": std,
            }
        )
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "sizes"
        raise SourceError(
            f"{source}: its image processor, {type(processor).__name__}, cannot be described here: "
            f"{where}: {problem['msg']}; {_REMEDY}"
        ) from error
    _try(source, processor, preprocess)
    return preprocess


_REMEDY = "correct preprocessor_config.json, or give python:PACKAGE.MODULE:FUNCTION with a preprocessing of its own"


def _sizes(processor: Any, size: Any) -> tuple[object, tuple[int, int] | None]:  # noqa: ANN401 -- theirs
    """Return (resize, crop) as `Preprocess` has them; what is no size is left for it to refuse."""
    crop = processor.crop_size if getattr(processor, "do_center_crop", False) else None
    cropped = None if crop is None else (crop.height, crop.width)
    shortest, share = size.shortest_edge, getattr(processor, "crop_pct", None)
    family = type(processor).__name__
    if not shortest:
        return (size.height, size.width), cropped
    if family.startswith("Levit"):
        return int(256 / 224 * shortest), cropped
    if family.startswith("ConvNext"):  # crops by itself, and squashes what is large
        square = (shortest, shortest)
        return (int(shortest / share), square) if shortest < 384 else (square, None)
    return shortest if share is None else int(shortest / share), cropped


def _try(source: str, processor: Any, preprocess: Preprocess) -> None:  # noqa: ANN401 -- theirs
    """Compare a processor with its description."""
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
            f"{source}: its image processor, {type(processor).__name__}, returns {shape} where its sizes say "
            f"{[1, 3, *preprocess.size]}; {_REMEDY}"
        )
    mean, std = (torch.tensor(part)[:, None, None] for part in (preprocess.mean, preprocess.std))
    found = (pixels[0] * std + mean) * 255
    inside = [slice(round(EDGE * side), round((1 - EDGE) * side)) for side in preprocess.size]
    off = float((found - _expected(preprocess))[:, inside[0], inside[1]].abs().max())
    if not off <= TOLERANCE:
        raise SourceError(
            f"{source}: its image processor, {type(processor).__name__}, crops or normalises otherwise than its "
            f"attributes say, by {off:.0f} levels of 256; {_REMEDY}"
        )


def _expected(preprocess: Preprocess) -> Tensor:
    """Return the levels, [3, height, width], that the picture has after resize and crop."""
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
    """Return which level, of those that grow from 0 to 255 along a side, each pixel of that side shows."""
    place = (torch.arange(cropped) + (resized - cropped) // 2 + 0.5) / resized  # 0 to 1 along the picture
    return (place * before - 0.5) * 255 / (before - 1)


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of a size that may be one number for both."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
