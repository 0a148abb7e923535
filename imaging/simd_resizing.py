"""Resizing with SIMD instructions: cykooz-resizer, the Python side of the Rust crate fast_image_resize.

It has Pillow's filters, and its passes are called one by one here, columns first as Pillow mostly has them, with 8-bit
pixels between them. The remaining difference is that its coefficients have 16 bits where Pillow's have 22: of a
thousand values up to four differ by 1 of 255 (measured, with the speed, by benchmarks/resizing.py), of pure noise up
to twelve, by 2 at most. Where Pillow takes the rows first (images twice as tall as wide, for example), a quarter do.

Shapes: w×h the image, W×H the resized one; sizes are (width, height) in pixels.
"""

import numpy as np
from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
from numpy.typing import NDArray
from PIL import Image

from imaging.pillow_resizing import box_of, resize_and_crop

_FILTERS = {
    Image.Resampling.BILINEAR: FilterType.bilinear,
    Image.Resampling.BICUBIC: FilterType.catmull_rom,  # Pillow's, with a = -0.5
    Image.Resampling.LANCZOS: FilterType.lanczos3,
}
_MUCH = 1.25
"""Times as many pixels between the passes as the other order has: sizes that keep the image's shape differ by less."""


def resize_and_crop_fast(
    image: Image.Image, size: tuple[int, int], crop: tuple[int, int] | None, resampling: Image.Resampling
) -> NDArray[np.uint8]:
    """Return what `imaging.pillow_resizing.resize_and_crop` returns, except for what the module says."""
    if resampling is Image.Resampling.NEAREST or image.size == size:
        return resize_and_crop(image, size, crop, resampling)  # nothing is computed
    (w, h), (width, height) = image.size, size
    left, top, right, bottom = box_of(size, crop)
    resizer = Resizer()  # one thread's
    options = ResizeOptions(resize_alg=ResizeAlg.convolution(_FILTERS[resampling]), use_alpha=False)
    if width * h <= _MUCH * w * height:
        columns = _pass(resizer, options, image, (width, h)).crop((left, 0, right, h))
        return np.asarray(_pass(resizer, options, columns, (right - left, height)))[top:bottom]
    rows = _pass(resizer, options, image, (w, height)).crop((0, top, w, bottom))
    return np.asarray(_pass(resizer, options, rows, (width, bottom - top)))[:, left:right]


def _pass(resizer: Resizer, options: ResizeOptions, image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size:
        return image
    resized = Image.new("RGB", size, None)  # not filled: every pixel is written
    resizer.resize_pil(image, resized, options)
    return resized
