"""Images in requests: settings of decoding, and responses for errors of `imaging`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from artifact import Manifest
from imaging.errors import DecodeMemoryError, ImageError, NotAnImageError, TooManyPixelsError
from imaging.pillow_resizing import resize_and_crop
from imaging.resizers import RESIZERS
from service.app import create_app
from service.inputs.images import check_sizes, image_problems
from service.problems.errors import ImageSettingError, ProblemError, RefusalError
from service.settings import Settings
from tests.imaging.test_profiles import LINEAR, from_linear
from tests.service.artifacts import WEIGHTS, add_artifact
from tests.service.pictures import encode


def test_the_icc_setting_applies_to_served_images(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    data = encode(Image.new("RGB", (6, 8), (100, 20, 20)), icc_profile=LINEAR)
    found = {}
    for icc in ("ignore", "convert"):
        with TestClient(create_app(Settings(repository=tmp_path, icc=icc))) as client:
            answer = client.post("/v1/classify", content=data, headers={"Content-Type": "image/png"}).json()
            found[icc] = answer["predictions"][0]["probability"]
    assert found["ignore"] == pytest.approx(expected(100, 20), abs=0.001)
    assert found["convert"] == pytest.approx(expected(*from_linear(np.array([100, 20], np.uint8))), abs=0.01)
    assert abs(expected(100, 20) - found["convert"]) > 0.02  # the comparison can fail


resized: list[tuple[int, int]] = []


def recording(
    image: Image.Image, size: tuple[int, int], crop: tuple[int, int] | None, resampling: Image.Resampling
) -> NDArray[np.uint8]:
    """Resize, and record the size of the decoded image."""
    resized.append(image.size)
    return resize_and_crop(image, size, crop, resampling)


@pytest.mark.parametrize(("setting", "single", "both"), [("auto", (16, 12), (32, 24)), ("exact", *[(128, 96)] * 2)])
def test_a_jpeg_is_scaled_for_the_largest_requested_variant(
    setting: str, single: tuple[int, int], both: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RESIZERS, "recording", (__name__, "recording"))
    add_artifact(tmp_path, variant="a", size=(6, 8))
    add_artifact(tmp_path, variant="b", size=(12, 16))
    data = encode(Image.new("RGB", (128, 96), (100, 20, 20)), "JPEG")
    with TestClient(create_app(Settings(repository=tmp_path, resizer="recording", jpeg_scaling=setting))) as client:
        resized.clear()
        assert client.post("/v1/classify?variant=a", content=data).status_code == 200
        assert client.post("/v1/compare", content=data).status_code == 200
    assert resized == [single, both, both]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(icc="embed"), "expected ignore or convert: --icc"),
        (Settings(jpeg_scaling="always"), "expected auto or exact: --jpeg-scaling"),
        (Settings(resizer="gpu"), "resizer 'gpu' is unknown; known: auto, simd, pillow: --resizer"),
    ],
)
def test_an_unknown_setting_stops_the_start_with_the_remedy(settings: Settings, message: str) -> None:
    with pytest.raises(ImageSettingError, match=message):
        create_app(settings)


def expected(red: float, other: float) -> float:
    """Return the probability of red by `add_artifact`'s network for an image of one colour."""
    logits = np.array([red, other, other]) @ WEIGHTS
    return float(np.exp(logits[0]) / np.exp(logits).sum())


@pytest.mark.parametrize(
    ("error", "status", "name", "members", "headers"),
    [
        (NotAnImageError("noise"), 400, "not-an-image", {}, {}),
        (TooManyPixelsError("noise", limit=9), 413, "too-many-pixels", {"limit": 9}, {}),
        (DecodeMemoryError("noise"), 503, "not-ready", {}, {"Retry-After": "1"}),
    ],
)
def test_an_image_error_becomes_a_problem(
    error: ImageError, status: int, name: str, members: dict[str, int], headers: dict[str, str]
) -> None:
    with pytest.raises(ProblemError, match=r"^noise$") as raised, image_problems():
        raise error
    found = raised.value
    assert (found.status, found.name, found.members, dict(found.headers)) == (status, name, members, headers)


def test_other_errors_are_not_converted() -> None:
    with pytest.raises(KeyError, match="noise"), image_problems():
        raise KeyError("noise")


def resizing(path: Path, **steps: object) -> Manifest:
    made = add_artifact(path)
    return made.model_copy(update={"preprocess": made.preprocess.model_copy(update=steps)})


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"resize": (1_000_000, 1_000_000), "crop": (8, 6)}, "resize of 1000000×1000000 pixels"),
        ({"resize": 10**9, "crop": (8, 6)}, "resize of 1000000000×1000000000"),
        ({"resize": (100, 70_000), "crop": (8, 6)}, "resize of 100×70000 pixels .* 65535 a side"),
        ({"resize": 9000, "crop": (9000, 9000)}, "resize of 9000×9000"),
    ],
)
def test_an_artifact_that_resizes_images_beyond_the_limit_is_refused(
    tmp_path: Path, steps: dict[str, Any], message: str
) -> None:
    with pytest.raises(RefusalError, match=message):
        check_sizes(resizing(tmp_path, **steps), 50_000_000)


def test_an_artifact_within_the_limit_is_accepted(tmp_path: Path) -> None:
    made = resizing(tmp_path, resize=248, crop=(224, 224))
    check_sizes(made, 248 * 248)
    with pytest.raises(RefusalError, match="limit of 61503 pixels"):
        check_sizes(made, 248 * 248 - 1)
