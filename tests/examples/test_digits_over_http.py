"""Every shipped variant over HTTP: predictions of the test split equal those of torch and match the manifest."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from artifact import read_artifact
from examples.digits.data import Split, load_split
from examples.digits.train import predict
from models.sources import Checkpoint, Overrides, load_source
from tests.conftest import DIGITS, VARIANTS
from tests.service.process import serving

pytestmark = pytest.mark.slow

BATCH = 8
"""Number of images in a request, the default limit of the service."""


@pytest.fixture(scope="module")
def client(digits_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    flags = ("--repository", str(digits_repository), "--port", "0")
    with (
        serving(tmp_path_factory.mktemp("server"), *flags) as server,
        httpx2.Client(base_url=server.url, timeout=30) as client,
    ):
        yield client


def png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def held_out() -> Split:
    return load_split()[1]


@pytest.fixture(scope="module")
def pictures(held_out: Split) -> list[bytes]:
    """Return the images of the test split as files."""
    return [png(pixels) for pixels in held_out.images]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_test_split_is_classified_as_in_torch_and_reaches_the_stated_accuracy(
    variant: str, client: httpx2.Client, digits_repository: Path, held_out: Split, pictures: list[bytes]
) -> None:
    source = f"posbake:{DIGITS / 'configs' / variant}.json"
    loaded = load_source(source, Checkpoint(DIGITS / "checkpoints" / f"{variant}.safetensors"), Overrides())
    in_torch = predict(loaded.network, held_out, loaded.preprocess).tolist()
    over_http: list[int] = []
    for start in range(0, len(pictures), BATCH):
        files = [base64.b64encode(picture).decode() for picture in pictures[start : start + BATCH]]
        tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [len(files)], "data": files}
        answer = client.post(f"/v2/models/digits@{variant}/infer", json={"inputs": [tensor]})
        assert answer.status_code == 200, answer.text
        (output,) = answer.json()["outputs"]
        over_http += np.reshape(output["data"], output["shape"]).argmax(axis=1).tolist()
    assert over_http == in_torch
    accuracy = read_artifact(digits_repository / "digits" / variant / "1").manifest.accuracy
    assert accuracy is not None
    assert float(np.mean(np.array(over_http) == held_out.labels)) == pytest.approx(accuracy.top1, abs=1e-9)


def test_single_image_requests_reach_the_stated_accuracy(
    client: httpx2.Client, digits_repository: Path, held_out: Split, pictures: list[bytes]
) -> None:
    found = []
    for picture in pictures:
        query = {"model": "digits", "variant": "swin-table", "top_k": "1"}
        answer = client.post("/v1/classify", params=query, content=picture, headers={"Content-Type": "image/png"})
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["predictions"][0]["index"])
    accuracy = read_artifact(digits_repository / "digits" / "swin-table" / "1").manifest.accuracy
    assert accuracy is not None
    assert float(np.mean(np.array(found) == held_out.labels)) == pytest.approx(accuracy.top1, abs=1e-9)


@pytest.mark.parametrize("digit", range(10))
def test_the_sample_images_are_classified_correctly(digit: int, client: httpx2.Client) -> None:
    picture = (DIGITS / "samples" / f"{digit}.png").read_bytes()
    answer = client.post("/v1/classify", params={"variant": "learned"}, content=picture).json()
    assert answer["predictions"][0]["label"] == str(digit)
    assert answer["encoding"] == "learned"


def test_images_of_8_by_8_pixels_are_scaled_as_in_training(client: httpx2.Client, held_out: Split) -> None:
    """8×8 images are resized to the 32×32 of training, except for rounding of the SIMD resizer."""
    _, small = load_split((8, 8))
    for index in range(0, 360, 40):
        answers = [client.post("/v1/classify", content=png(split.images[index])).json() for split in (small, held_out)]
        found, expected = ([one["probability"] for one in answer["predictions"]] for answer in answers)
        assert found == pytest.approx(expected, abs=2e-4)
        assert answers[0]["predictions"][0]["label"] == answers[1]["predictions"][0]["label"]
