"""Pillow's C codecs, called directly with parts of a file, without copying the file.

The calls are those of `PIL.ImageFile.ImageFile.load`, but headers are parsed in this package.
"""

from collections.abc import Iterable

from PIL import Image

from imaging.errors import cut_off, damaged


def run_codec(
    image: Image.Image, name: str, args: tuple[object, ...], parts: Iterable[bytes | memoryview]
) -> Image.Image:
    """Decode the concatenated `parts` into an image, and return it. The GIL is released meanwhile.

    Args:
        image: image with the decoder's mode and size; every pixel is written.
        name: name of Pillow's decoder: jpeg, zip, gif.
        args: arguments of the decoder.
        parts: parts of the stream with complete units (segments, blocks).

    Raises:
        NotAnImageError: the stream is damaged or truncated.
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
