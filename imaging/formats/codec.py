"""Pillow's codecs in C, called with parts of a file, without a copy of it.

They are called as `PIL.ImageFile.ImageFile.load` calls them, but the headers are parsed here.
"""

from collections.abc import Iterable

from PIL import Image

from imaging.errors import cut_off, damaged


def run_codec(
    name: str, mode: str, size: tuple[int, int], args: tuple[object, ...], parts: Iterable[bytes | memoryview]
) -> Image.Image:
    """Return the image that `parts`, one after the other, hold. Python's lock is free meanwhile.

    Args:
        name: of Pillow's decoder: jpeg, zip, gif.
        mode: of the image returned.
        size: (width, height).
        args: of that decoder.
        parts: each holds whole units of the stream (segments, blocks), so that nothing of it is left over.

    Raises:
        NotAnImageError: the stream is damaged, or ends before the image does.
    """
    image = Image.new(mode, size, None)
    return fill(image, name, args, parts)


def fill(image: Image.Image, name: str, args: tuple[object, ...], parts: Iterable[bytes | memoryview]) -> Image.Image:
    """Decode into `image`, as `run_codec` does, and return it."""
    decoder = Image._getdecoder(image.mode, name, args)
    try:
        decoder.setimage(image.im, (0, 0, *image.size))
        for part in parts:
            consumed, error = decoder.decode(part)
            if error < 0:
                raise damaged("its pixels cannot be decompressed")
            if consumed < 0:
                return image
    finally:
        decoder.cleanup()
    raise cut_off()
