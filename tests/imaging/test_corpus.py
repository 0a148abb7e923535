"""Every supported kind of file is decoded to the expected pixels; every other is refused with the reason."""

import numpy as np
import pytest

from imaging.decode import decode
from imaging.errors import NotAnImageError
from tests.imaging.corpus.bmp import bmp_kinds
from tests.imaging.corpus.gif import gif_kinds
from tests.imaging.corpus.jpeg import jpeg_kinds
from tests.imaging.corpus.kinds import Kind
from tests.imaging.corpus.others import other_kinds
from tests.imaging.corpus.png import png_kinds
from tests.imaging.corpus.tiff import tiff_kinds
from tests.imaging.corpus.webp_avif import avif_kinds, webp_kinds

KINDS = [
    *jpeg_kinds(),
    *png_kinds(),
    *tiff_kinds(),
    *bmp_kinds(),
    *gif_kinds(),
    *webp_kinds(),
    *avif_kinds(),
    *other_kinds(),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_file_is_decoded_to_its_pixels_or_refused_with_the_reason(kind: Kind) -> None:
    data = kind.make()
    if kind.pixels is None:
        with pytest.raises(NotAnImageError, match=kind.refused):
            decode(data, 1_000_000)
        return
    found = np.asarray(decode(data, 1_000_000))
    assert found.shape == kind.pixels.shape
    difference = np.abs(found.astype(int) - kind.pixels)
    assert difference.max() <= kind.at_most
    assert difference.mean() <= kind.on_average


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    names = [kind.name for kind in KINDS]
    assert len(names) == len(set(names)) >= 188
