"""Preprocessing of networks trained on ImageNet, and of any network at another image size."""

from artifact import Preprocess

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def at_size(preprocess: Preprocess, size: tuple[int, int]) -> Preprocess:
    """Return the preprocessing for another image size, with the same crop ratio."""
    if preprocess.size == size:
        return preprocess
    if preprocess.crop is None:
        return preprocess.model_copy(update={"resize": size})
    scales = size[0] / preprocess.crop[0], size[1] / preprocess.crop[1]
    resize = preprocess.resize
    scaled = (
        round(resize * max(scales))
        if isinstance(resize, int)
        else (round(resize[0] * scales[0]), round(resize[1] * scales[1]))
    )
    return preprocess.model_copy(update={"resize": scaled, "crop": size})
