"""Pillow's codecs in C, called with parts of a file, without a copy of it.

They are called as `PIL.ImageFile.ImageFile.load` calls them, but the headers are parsed here.
"""

from collections.abc import Iterable

from PIL import Image

from imaging.errors import cut_off, damaged


def run_codec(
    image: Image.Image, name: str, args: tuple[object, ...], parts: Iterable[bytes | memoryview]
) -> Image.Image:
    """Decode `parts`, one after the other, into an image, and return it. Python's lock is free meanwhile.

    Args:
        image: of the mode and size that the decoder yields; all of it is written.
        name: of Pillow's decoder: jpeg, zip, gif.
        args: of that decoder.
        parts: each holds whole units of the stream (segments, blocks), so that nothing of it is left over.

    Raises:
        NotAnImageError: the stream is damaged, or ends before the image does.
    """
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
