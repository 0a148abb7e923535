"""AVIF: AV1 in a HEIF container, decoded by libavif; for a sequence, the first image."""

import io
from functools import partial

from PIL import AvifImagePlugin, Image, features

from imaging.errors import NotAnImageError
from imaging.formats.colours import over_white
from imaging.formats.orientation import orientation_of
from imaging.formats.picture import Picture


def read_avif(data: bytes) -> Picture:
    """Read an AVIF file.

    Raises:
        NotAnImageError: the file is damaged, or this Pillow is built without libavif.
    """
    if not features.check("avif"):
        raise NotAnImageError("the installed Pillow does not support AVIF; save the image as JPEG or PNG")
    image = AvifImagePlugin.AvifImageFile(io.BytesIO(data))  # parses only; `load` decodes the pixels
    exif, profile = image.info.get("exif", b""), image.info.get("icc_profile")
    return Picture(
        *image.size,
        bytes_per_pixel=16 if image.mode == "RGBA" else 12,  # planes, colours, a copy of the colours, the image
        load=partial(_load, image),
        orientation=orientation_of(exif),
        profile=lambda: profile,
    )


def _load(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode in {"RGBA", "LA"}:
        return over_white(image)
    return image
