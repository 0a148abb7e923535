"""Decoding, compared with plain arithmetic on single pixels."""

import base64
import io
import warnings
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageFile

from imaging.decode import decode, pillow_pixel_limit
from imaging.errors import NotAnImageError, TooManyPixelsError
from imaging.formats import webp
from imaging.formats.signatures import begins_as_image
from tests.service.pictures import encode, png_claiming, random_pixels, with_broken_pixel_checksum

LIMIT = 1_000_000
RGB = random_pixels(5, 7)


def pixels(data: bytes) -> NDArray[np.uint8]:
    image = decode(data, LIMIT)
    assert image.mode == "RGB"
    return np.asarray(image)


def over_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return colours [H, W, 3] with alpha [H, W] over white, value by value."""
    blended = np.empty(rgb.shape)
    for place in np.ndindex(*rgb.shape):
        share = alpha[place[:2]] / 255
        blended[place] = share * rgb[place] + (1 - share) * 255
    return blended


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})]
)
def test_lossless_formats_are_decoded_exactly(kind: str, options: dict[str, Any]) -> None:
    np.testing.assert_array_equal(pixels(encode(RGB, kind, **options)), RGB)


def test_lossless_webp_is_decoded_exactly() -> None:
    np.testing.assert_array_equal(pixels(encode(RGB, "WEBP", lossless=True)), RGB)


def test_jpeg_is_decoded_within_its_loss() -> None:
    smooth = np.tile(np.arange(0, 240, 10).astype(np.uint8)[:, None, None], (1, 24, 3))
    assert np.abs(pixels(encode(smooth, "JPEG", quality=95)).astype(int) - smooth).max() <= 3  # the loss of JPEG


def test_grey_becomes_three_equal_channels() -> None:
    grey = RGB[:, :, 0]
    np.testing.assert_array_equal(pixels(encode(grey)), np.stack([grey] * 3, axis=2))


def test_one_bit_becomes_black_and_white() -> None:
    bits = RGB[:, :, 0] > 128
    expected = np.stack([bits * np.uint8(255)] * 3, axis=2)
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(bits))), expected)


def test_a_palette_is_looked_up() -> None:
    image = Image.fromarray(RGB).quantize(16)
    colours = image.getpalette()
    assert colours is not None
    indices = np.asarray(image)
    expected = [[colours[3 * index : 3 * index + 3] for index in row] for row in indices.tolist()]
    for kind in ("PNG", "GIF", "BMP"):
        np.testing.assert_array_equal(pixels(encode(image, kind)), expected)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_colour_becomes_white(kind: str) -> None:
    image = Image.fromarray(RGB).quantize(4)
    colours = image.getpalette()
    assert colours is not None
    indices = np.asarray(image).tolist()
    expected = [[[255] * 3 if i == 2 else colours[3 * i : 3 * i + 3] for i in row] for row in indices]
    np.testing.assert_array_equal(pixels(encode(image, kind, transparency=2)), expected)


def test_a_half_transparent_palette_is_blended() -> None:
    image = Image.fromarray(RGB).quantize(4)
    colours = image.getpalette()
    assert colours is not None
    alpha = np.array([0, 100, 200, 255], np.uint8)
    indices = np.asarray(image)
    rgb = np.array(colours, np.uint8).reshape(-1, 3)[indices]
    found = pixels(encode(image, transparency=alpha.tobytes()))
    np.testing.assert_allclose(found, over_white(rgb, alpha[indices]), atol=1)  # Pillow blends in integers


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_blended_over_white(mode: str) -> None:
    alpha = random_pixels(5, 7, seed=1)[:, :, 0]
    alpha[0, :2] = 0, 255
    rgb = RGB if mode == "RGBA" else np.stack([RGB[:, :, 0]] * 3, axis=2)
    channels = rgb if mode == "RGBA" else rgb[:, :, :1]
    image = Image.fromarray(np.dstack([channels, alpha]))
    assert image.mode == mode
    found = pixels(encode(image))
    np.testing.assert_allclose(found, over_white(rgb, alpha), atol=1)  # Pillow blends in integers
    np.testing.assert_array_equal(found[0, 0], 255)
    np.testing.assert_array_equal(found[0, 1], rgb[0, 1])
    with pytest.raises(AssertionError):  # the comparison above is able to fail
        np.testing.assert_allclose(found, over_white(rgb, 255 - alpha), atol=1)


def test_a_transparent_grey_or_colour_becomes_white() -> None:
    grey = np.array([[7, 8], [9, 7]], np.uint8)
    np.testing.assert_array_equal(pixels(encode(grey, transparency=7))[:, :, 0], [[255, 8], [9, 255]])
    rgb = np.stack([grey, grey + np.uint8(1), grey], axis=2)
    np.testing.assert_array_equal(pixels(encode(rgb, transparency=(9, 10, 9)))[:, :, 1], [[8, 9], [255, 8]])
    wide = np.array([[700, 65535]], np.uint16)
    np.testing.assert_array_equal(pixels(encode(wide, transparency=700))[:, :, 0], [[255, 255]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str, order: str) -> None:
    wide = np.array([[0, 128, 129, 257, 300, 32767, 32768, 65407, 65535]], np.uint16).astype(order)
    expected = [round(value / 257) for value in wide[0].tolist()]
    if order == ">u2" and kind == "TIFF":
        image = Image.frombytes("I;16B", (9, 1), wide.tobytes())
    else:
        image = Image.fromarray(wide.astype("<u2"))
    found = pixels(encode(image, kind))
    np.testing.assert_array_equal(found[0, :, 0], expected)
    np.testing.assert_array_equal(found[0, :, 2], expected)


def test_cmyk_becomes_rgb() -> None:
    cmyk = Image.merge("CMYK", [Image.new("L", (16, 16), value) for value in (0, 255, 255, 0)])
    red = pixels(encode(cmyk, "JPEG"))
    np.testing.assert_allclose(red, np.broadcast_to([255, 0, 0], red.shape), atol=3)  # the loss of JPEG


@pytest.mark.parametrize("values", [np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int32)])
def test_pixels_without_a_defined_white_are_refused(values: NDArray[Any]) -> None:
    with pytest.raises(NotAnImageError, match="no defined white"):
        decode(encode(values, "TIFF"), LIMIT)


def stored_position(orientation: int, row: int, column: int, height: int, width: int) -> tuple[int, int]:
    """Return where the pixel (row, column) of an upright image is stored, as EXIF defines the orientation.

    With orientation 6, for example, the stored row 0 is the right side of the image.
    """
    bottom, right = height - 1 - row, width - 1 - column
    return {
        1: (row, column),
        2: (row, right),
        3: (bottom, right),
        4: (bottom, column),
        5: (column, row),
        6: (right, row),
        7: (right, bottom),
        8: (column, bottom),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_rotates_the_image_upright(orientation: int, kind: str) -> None:
    height, width = (5, 7) if orientation < 5 else (7, 5)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    found = pixels(encode(RGB, kind, exif=exif.tobytes(), **options))
    assert found.shape == (height, width, 3)
    expected = np.empty_like(found)
    for row in range(height):
        for column in range(width):
            expected[row, column] = RGB[stored_position(orientation, row, column, height, width)]
    np.testing.assert_array_equal(found, expected)


def test_a_jpeg_is_rotated_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode(encode(RGB, "JPEG", exif=exif.tobytes()), LIMIT)
    assert image.size == (5, 7)


def test_unreadable_exif_is_ignored() -> None:
    for exif in (b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\xff\xff", b"x"):
        for kind in ("PNG", "JPEG"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of corrupt EXIF
                assert decode(encode(RGB, kind, exif=exif), LIMIT).size == (7, 5)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_is_decoded(kind: str) -> None:
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    found = pixels(encode(red, kind, save_all=True, append_images=[blue], **options))
    np.testing.assert_array_equal(found, np.broadcast_to([255, 0, 0], found.shape))


def test_the_limit_of_pixels_is_exact() -> None:
    assert decode(encode(RGB), 35).size == (7, 5)
    with pytest.raises(TooManyPixelsError, match="7×5 pixels, at most 34 are allowed"):
        decode(encode(RGB), 34)


def test_a_header_over_the_limit_of_pillow_is_refused_without_a_warning() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pillow_pixel_limit(1000):
        for side in (32, 40, 50_000):  # just over, below twice, and far over the limit
            with pytest.raises(TooManyPixelsError):
                decode(png_claiming(side, side), 1000)
    assert before == Image.MAX_IMAGE_PIXELS


def test_an_operator_may_allow_more_pixels_than_pillow_would() -> None:
    with pillow_pixel_limit(10**10), pytest.raises(NotAnImageError, match="truncated"):
        decode(png_claiming(60_000, 4_000), 10**10)  # refused because pixels are missing, not for their number


def test_a_damaged_png_is_detected_by_its_checksum() -> None:
    png = encode(RGB)
    with pytest.raises(NotAnImageError, match="IDAT"):
        decode(with_broken_pixel_checksum(png), LIMIT)
    np.testing.assert_array_equal(pixels(png), RGB)


def test_pillow_does_not_fill_up_truncated_files() -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_other_formats_are_not_decoded() -> None:
    for kind in ("PPM", "ICO", "PCX", "TGA"):
        with pytest.raises(NotAnImageError, match=r"not a supported image|not an image"):
            decode(encode(RGB, kind), LIMIT)


GREY_16 = np.arange(63, dtype=np.uint16).reshape(7, 9) * 1040


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (GREY_16, {"photometric": "minisblack"}, GREY_16),
        (65_535 - GREY_16, {"photometric": "miniswhite"}, GREY_16),
        (65_535 - GREY_16, {"photometric": "miniswhite", "byteorder": ">"}, GREY_16),
        (np.stack([GREY_16] * 3), {"photometric": "rgb", "planarconfig": "separate"}, GREY_16),
        (np.stack([GREY_16] * 3), {"photometric": "rgb", "planarconfig": "separate", "byteorder": ">"}, GREY_16),
        (np.stack([GREY_16] * 3), {"photometric": "rgb", "planarconfig": "separate", "tile": (16, 16)}, GREY_16),
        (np.dstack([GREY_16] * 3), {"photometric": "rgb", "compression": "zlib", "predictor": True}, GREY_16),
    ],
)
def test_files_written_by_tifffile_are_decoded_exactly(
    values: NDArray[np.uint16], options: dict[str, Any], expected: NDArray[np.uint16]
) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, metadata=None, **options)
    rounded = [[round(value / 257) for value in row] for row in expected.tolist()]
    np.testing.assert_array_equal(pixels(buffer.getvalue())[..., 1], rounded)


def test_a_palette_png_without_a_palette_is_refused() -> None:
    text = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAMAAAAoyzS7AAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
    with pytest.raises(NotAnImageError, match="palette is missing"):
        decode(base64.b64decode(text), LIMIT)


def test_without_libwebp_pillow_decodes_webp_to_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    rgba = np.dstack([RGB, RGB[..., :1]])
    files = [encode(picture, "WEBP", lossless=True, exact=True) for picture in (RGB, rgba)]
    found = [pixels(file) for file in files]
    monkeypatch.setattr(webp, "library", lambda: None)
    for file, expected in zip(files, found, strict=True):
        np.testing.assert_array_equal(pixels(file), expected)


def test_image_files_are_distinguished_from_raw_pixels_by_their_first_bytes() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        assert begins_as_image(encode(RGB, kind)[:12])
    for beginning in (b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0", b"\0\0\0\x18ftypheic"):  # BigTIFF, HEIC
        assert begins_as_image(beginning)
    assert not begins_as_image(RGB.tobytes())
