"""Colour profiles: ignored by default, converted to sRGB on request."""

import io
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from imaging.decode import decode
from tests.imaging.corpus.jpeg import segment
from tests.service.pictures import encode, png_chunk, random_pixels

RGB = random_pixels(16, 24)


def profile(gamma: float = 1.0) -> bytes:
    """Return sRGB's profile by LittleCMS with another gamma, written to its curves rTRC, gTRC and bTRC."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    curve = b"curv\0\0\0\0\0\0\0\1" + round(gamma * 256).to_bytes(2, "big")
    count = int.from_bytes(made[128:132], "big")
    for index in range(count):
        entry = 132 + 12 * index
        if bytes(made[entry : entry + 4]) in {b"rTRC", b"gTRC", b"bTRC"}:
            at = int.from_bytes(made[entry + 4 : entry + 8], "big")
            made[at : at + len(curve)] = curve
            made[entry + 8 : entry + 12] = len(curve).to_bytes(4, "big")
    return bytes(made)


LINEAR = profile()


def from_linear(values: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return linear light encoded with sRGB's transfer function (IEC 61966-2-1)."""
    light = values / 255
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def files() -> dict[str, tuple[bytes, NDArray[np.uint8]]]:
    png = encode(RGB)
    chunk = png_chunk(b"iCCP", b"linear\0\0" + zlib.compress(LINEAR))
    jpeg = encode(RGB, "JPEG", quality=100, subsampling=0, icc_profile=LINEAR)
    return {
        "PNG": (png[:33] + chunk + png[33:], RGB),
        "WebP": (encode(RGB, "WEBP", lossless=True, icc_profile=LINEAR), RGB),
        "TIFF": (encode(RGB, "TIFF", icc_profile=LINEAR), RGB),
        "JPEG": (jpeg, np.asarray(Image.open(io.BytesIO(jpeg)))),
    }


@pytest.mark.parametrize("name", files())
def test_colours_are_converted_to_srgb_on_request_only(name: str) -> None:
    data, stored = files()[name]
    np.testing.assert_array_equal(np.asarray(decode(data, 1000)), stored)
    converted = np.asarray(decode(data, 1000, profiles="convert"))
    np.testing.assert_allclose(converted, from_linear(stored), atol=2)
    assert np.abs(converted.astype(int) - stored).mean() > 20  # the comparison is able to fail


def test_a_profile_of_srgb_changes_values_by_at_most_one() -> None:
    data = encode(RGB, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    np.testing.assert_allclose(np.asarray(decode(data, 1000, profiles="convert")), RGB, atol=1)


@pytest.mark.parametrize(
    "broken",
    [
        b"garbage",
        LINEAR[:200],
        b"",
        bytes(128),
        LINEAR[:16] + b"CMYK" + LINEAR[20:],
        LINEAR[:16] + b"GRAY" + LINEAR[20:],
    ],
)
def test_an_unusable_profile_is_ignored(broken: bytes) -> None:
    jpeg = encode(RGB, "JPEG")
    data = jpeg[:2] + segment(0xE2, b"ICC_PROFILE\0\1\1" + broken) + jpeg[2:]
    np.testing.assert_array_equal(decode(data, 1000, profiles="convert"), decode(jpeg, 1000))


def test_an_rgb_profile_is_ignored_for_grey_and_cmyk_images() -> None:
    grey, cmyk = Image.fromarray(RGB).convert("L"), Image.fromarray(RGB).convert("CMYK")
    for image in (grey, cmyk):
        options: dict[str, Any] = {"quality": 100}
        plain, with_profile = encode(image, "JPEG", **options), encode(image, "JPEG", **options, icc_profile=LINEAR)
        np.testing.assert_array_equal(decode(with_profile, 1000, profiles="convert"), decode(plain, 1000))
