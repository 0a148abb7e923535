"""Folders of images, and repositories for them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.digits.data import load_split
from tests.service.artifacts import LABELS, add_artifact
from tests.service.pictures import encode


@pytest.fixture(scope="session")
def digits_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the 360 test images as PNG, with a subfolder for each class."""
    folder = tmp_path_factory.mktemp("offline") / "scans"
    _, test = load_split()
    for number, (pixels, label) in enumerate(zip(test.images, test.labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / str(label) / f"{number:03}.png")
    return folder


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Repository of one variant that distinguishes red, green, blue and grey images by their mean colour."""
    path = tmp_path_factory.mktemp("colours")
    add_artifact(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folder of thirty red, green and blue images in subfolders of these names, and a text file."""
    folder = tmp_path / "pictures"
    for number in range(30):
        name = LABELS[number % 3]
        pixels = np.full((9, 7, 3), 20, np.uint8)
        pixels[..., number % 3] = 150 + number
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{number:02}.png").write_bytes(encode(pixels))
    (folder / "green" / "notes.txt").write_text("green")
    return folder
