"""Calibration images: preprocessing identical to the service's, and refusals that name the file."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from artifact import Preprocess
from export.precision.calibration import LARGEST, SMALLEST, load_calibration
from export.process.errors import ExportError
from export.tracing.pixels import Normalisation
from export.verify.reference import normalise
from imaging.preprocess import Tensor
from service.app import create_app
from service.backends import BACKENDS
from service.settings import Settings
from tests.imaging.test_profiles import LINEAR
from tests.service.artifacts import add_artifact
from tests.service.counting import CountingBackend
from tests.service.pictures import encode, png_claiming, random_pixels, truncated_jpeg

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
NORMAL: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
EXACT = Preprocess(resize=(8, 6), interpolation="bilinear", **NORMAL)


def folder_of(directory: Path, count: int) -> Path:
    directory.mkdir()
    for number in range(count):
        Image.fromarray(np.full((8, 6, 3), number % 256, np.uint8)).save(directory / f"{number:04}.png")
    return directory


def orientated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
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
    "cmyk.jpg": encode(Image.fromarray(random_pixels(25, 31)).convert("CMYK"), "JPEG"),
    "progressive.jpg": encode(random_pixels(40, 30), "JPEG", progressive=True),
    "profile.jpg": encode(random_pixels(24, 16), "JPEG", icc_profile=LINEAR),
    "palette with alpha.png": encode(Image.fromarray(random_pixels(20, 22)).quantize(8), transparency=bytes(range(8))),
    "grey with alpha.png": encode(Image.fromarray(random_pixels(20, 22)).convert("LA")),
    "transparent sixteen.png": encode(np.arange(400, dtype=np.uint16).reshape(20, 20), transparency=7),
    "one frame.gif": encode(Image.fromarray(random_pixels(20, 22)).quantize(8), "GIF"),
    "strips.tiff": encode(random_pixels(31, 20), "TIFF"),
    "photo.avif": encode(random_pixels(32, 20), "AVIF"),
}
STEPS: dict[str, dict[str, Any]] = {
    "exact size": {"resize": (8, 6)},
    "shorter side and crop": {"resize": 11, "crop": (8, 6)},
    "exact size and crop": {"resize": (13, 9), "crop": (8, 6)},
}


class RecordingBackend(CountingBackend):
    recorded: ClassVar[list[Tensor]] = []

    def run(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:
        self.recorded.append(images.copy())
        return super().run(images, spread=spread)


def served(repository: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.float32]:
    """Return the inputs of the service's backend for files sorted by name, with the default settings."""
    monkeypatch.setitem(BACKENDS, "recording", (__name__, "RecordingBackend"))
    with TestClient(create_app(Settings(repository=repository, backend="recording"))) as client:
        RecordingBackend.recorded.clear()  # inputs of the warm-up
        for file in sorted(pictures.iterdir()):
            assert client.post("/v1/classify", content=file.read_bytes()).status_code == 200
    return np.concatenate(RecordingBackend.recorded).astype(np.float32)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pictures")
    for name, data in KINDS.items():
        (directory / name).write_bytes(data)
    return directory


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("steps", STEPS)
def test_images_are_preprocessed_exactly_as_in_the_service(
    steps: str, interpolation: Interpolation, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = Preprocess(**STEPS[steps], interpolation=interpolation, **NORMAL)
    add_artifact(tmp_path, preprocess=chosen.model_dump())
    found = load_calibration(pictures, chosen).pixels
    expected = served(tmp_path, pictures, monkeypatch)
    assert expected.shape == (len(KINDS), 8, 6, 3)
    np.testing.assert_array_equal(found, expected)
    other = Preprocess(**STEPS[steps], interpolation="bilinear" if interpolation != "bilinear" else "nearest", **NORMAL)
    assert (load_calibration(pictures, other).pixels != expected).any()  # the comparison is able to fail


def test_normalised_images_equal_those_of_the_service(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = add_artifact(tmp_path, dtype="float32").preprocess
    pixels = torch.from_numpy(load_calibration(pictures, steps).pixels)
    found = normalise(pixels, Normalisation(steps.mean, steps.std)).float().numpy()
    expected = served(tmp_path, pictures, monkeypatch)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=1e-6
    )  # the service normalises in float32, export in float64


def test_images_are_found_in_subfolders_and_sorted_by_path(tmp_path: Path) -> None:
    folder_of(tmp_path / "b", 20)
    (tmp_path / "b" / "notes.txt").write_text("no image")
    Image.fromarray(np.full((8, 6, 3), 99, np.uint8)).save(tmp_path / "b" / "a.bmp")
    images = load_calibration(tmp_path, EXACT)
    assert images.directory == tmp_path.name
    assert images.pixels.dtype == np.uint8
    assert images.pixels[:, 0, 0, 0].tolist() == [*range(20), 99]


def test_symlinks_to_folders_are_followed_once_per_folder(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "elsewhere", 20)
    classes = tmp_path / "classes"
    (classes / "own").mkdir(parents=True)
    (classes / "cats").symlink_to(data)
    (classes / "own" / "again").symlink_to(classes)  # a cycle
    assert len(load_calibration(classes, EXACT).pixels) == 20
    (classes / "dogs").symlink_to(folder_of(tmp_path / "more", 3))
    assert len(load_calibration(classes, EXACT).pixels) == 23


def test_of_too_many_images_an_evenly_spaced_subset_is_used(tmp_path: Path) -> None:
    directory = folder_of(tmp_path / "many", LARGEST + 300)
    taken = load_calibration(directory, EXACT).pixels
    assert len(taken) == LARGEST
    assert taken[-1, 0, 0, 0] == (LARGEST + 298) % 256


@pytest.mark.parametrize(
    ("count", "words"),
    [(None, ["not a directory"]), (0, ["contains 0 images"]), (SMALLEST - 1, ["contains 15", "at least 16"])],
)
def test_too_few_images_are_refused(count: int | None, words: list[str], tmp_path: Path) -> None:
    directory = tmp_path / "none" if count is None else folder_of(tmp_path / "few", count)
    with pytest.raises(ExportError, match="--calibration") as raised:
        load_calibration(directory, EXACT)
    assert all(word in str(raised.value) for word in words)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"no image", "is not an image"),
        (truncated_jpeg(), "truncated"),
        (png_claiming(20_000, 20_000), "20000×20000 pixels, at most 100000000 are allowed"),
    ],
    ids=["empty", "text", "truncated", "large"],
)
def test_an_unreadable_image_is_named(data: bytes, reason: str, tmp_path: Path) -> None:
    directory = folder_of(tmp_path / "images", SMALLEST)
    (directory / "broken.jpg").write_bytes(data)
    with pytest.raises(ExportError, match=rf"cannot read the calibration image .*broken\.jpg: .*{reason}.*; repair or"):
        load_calibration(directory, EXACT)
