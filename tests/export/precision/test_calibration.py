"""Calibration images are read and prepared as the service does it, and what cannot be used is refused by name."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from artifact import Manifest, Preprocess
from export.errors import ExportError
from export.precision.calibration import LARGEST, SMALLEST, load_calibration, prepare, read_rgb
from imaging.decode import decode
from imaging.pillow_resizing import resize_and_crop
from imaging.preprocess import Reading, preprocess
from tests.service.artifacts import add_artifact
from tests.service.pictures import encode, random_pixels, truncated_jpeg

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
NORMAL: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
EXACT = Preprocess(resize=(8, 6), interpolation="bilinear", **NORMAL)
MANY_PIXELS = 50_000_000


def folder_of(directory: Path, count: int) -> Path:
    directory.mkdir()
    for number in range(count):
        Image.fromarray(np.full((8, 6, 3), number % 256, np.uint8)).save(directory / f"{number:04}.png")
    return directory


def orientated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    return encode(random_pixels(20, 30), "JPEG", exif=exif)


KINDS: dict[str, bytes] = {
    "photo.jpg": encode(random_pixels(31, 47), "JPEG"),
    "turned.jpeg": orientated(),
    "transparent.png": encode(np.random.default_rng(1).integers(0, 256, (20, 33, 4), np.uint8)),
    "palette.png": encode(Image.fromarray(random_pixels(20, 20)).convert("P")),
    "sixteen.png": encode(np.random.default_rng(2).integers(0, 65536, (20, 20)).astype(np.uint16)),
    "grey.bmp": encode(Image.fromarray(random_pixels(9, 40)).convert("L"), "BMP"),
    "lossless.webp": encode(random_pixels(50, 40), "WEBP", lossless=True),
    "upper.PNG": encode(random_pixels(8, 6)),
}
STEPS: dict[str, dict[str, Any]] = {
    "exact size": {"resize": (8, 6)},
    "shorter side and crop": {"resize": 11, "crop": (8, 6)},
    "exact size and crop": {"resize": (13, 9), "crop": (8, 6)},
}


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("steps", STEPS)
def test_images_are_prepared_exactly_as_the_service_prepares_them(
    steps: str, interpolation: Interpolation, tmp_path: Path
) -> None:
    chosen = Preprocess(**STEPS[steps], interpolation=interpolation, **NORMAL)
    manifest: Manifest = add_artifact(tmp_path / "repository", preprocess=chosen.model_dump())
    for name, data in KINDS.items():
        file = tmp_path / name
        file.write_bytes(data)
        served = preprocess(decode(data, MANY_PIXELS), manifest, Reading(MANY_PIXELS, resize_and_crop))
        np.testing.assert_array_equal(prepare(read_rgb(file), chosen), served[0], err_msg=name)
        assert served.shape == (1, 8, 6, 3)


def test_images_are_found_in_folders_below_and_sorted_by_path(tmp_path: Path) -> None:
    folder_of(tmp_path / "b", 20)
    (tmp_path / "b" / "notes.txt").write_text("no image")
    Image.fromarray(np.full((8, 6, 3), 99, np.uint8)).save(tmp_path / "b" / "a.bmp")
    images = load_calibration(tmp_path, EXACT)
    assert images.directory == tmp_path.name
    assert images.pixels.dtype == np.uint8
    assert images.pixels[:, 0, 0, 0].tolist() == [*range(20), 99]


def test_links_to_folders_are_followed_each_folder_once(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "elsewhere", 20)
    classes = tmp_path / "classes"
    (classes / "own").mkdir(parents=True)
    (classes / "cats").symlink_to(data)
    (classes / "own" / "again").symlink_to(classes)  # a circle
    assert len(load_calibration(classes, EXACT).pixels) == 20
    (classes / "dogs").symlink_to(folder_of(tmp_path / "more", 3))
    assert len(load_calibration(classes, EXACT).pixels) == 23


def test_of_too_many_images_as_many_as_allowed_are_taken_from_all_over(tmp_path: Path) -> None:
    directory = folder_of(tmp_path / "many", LARGEST + 300)
    taken = load_calibration(directory, EXACT).pixels
    assert len(taken) == LARGEST
    assert taken[-1, 0, 0, 0] == (LARGEST + 298) % 256


@pytest.mark.parametrize(
    ("count", "words"),
    [(None, ["not a directory"]), (0, ["holds 0 images"]), (SMALLEST - 1, ["holds 15", "at least 16"])],
)
def test_too_few_images_are_refused(count: int | None, words: list[str], tmp_path: Path) -> None:
    directory = tmp_path / "none" if count is None else folder_of(tmp_path / "few", count)
    with pytest.raises(ExportError, match="--calibration") as raised:
        load_calibration(directory, EXACT)
    assert all(word in str(raised.value) for word in words)


@pytest.mark.parametrize("data", [b"", b"no image", truncated_jpeg()], ids=["empty", "text", "cut off"])
def test_an_image_that_cannot_be_read_is_named(data: bytes, tmp_path: Path) -> None:
    directory = folder_of(tmp_path / "images", SMALLEST)
    (directory / "broken.jpg").write_bytes(data)
    with pytest.raises(ExportError, match=r"cannot read the calibration image .*broken\.jpg"):
        load_calibration(directory, EXACT)
