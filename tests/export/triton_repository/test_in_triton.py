"""The exported digits model in Triton 2.51, compared with posbake's own pixels, logits and classes.

ONNX Runtime 1.24 runs the graphs: see tests/triton/onnxruntime_backend.py.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from artifact import read_artifact, scan
from examples.digits.data import load_split
from export.process.command import DONE
from export.to_onnx import main as to_onnx
from export.to_triton import main
from imaging.preprocess import Reading, preprocess
from imaging.resizers import find_resizer
from tests.conftest import DIGITS
from tests.export.triton_repository.repositories import image
from tests.service.artifacts import WEIGHTS, add_artifact
from tests.service.pictures import encode, random_pixels, truncated_jpeg
from tests.service.protocol_v2.answers import expected_logits
from tests.triton.environment import PYTHON
from tests.triton.server import Triton, skip_without_triton, triton_server

pytestmark = [pytest.mark.triton, pytest.mark.slow]

HALF = "rope-fp16"
"""Name of a variant in fp16 and opset 23."""

CLIENT = Path(__file__).parents[2] / "triton" / "grpc_client.py"


@pytest.fixture(scope="module")
def artifacts(digits_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return all digits variants, `HALF`, and `colours` with a network for one image and one of two versions."""
    skip_without_triton()
    repository = shutil.copytree(digits_repository, tmp_path_factory.mktemp("digits") / "artifacts")
    source = [
        f"posbake:{DIGITS / 'configs' / 'rope.json'}",
        "--checkpoint",
        str(DIGITS / "checkpoints/rope.safetensors"),
    ]
    written = ["--precision", "fp16", "--opset", "23", "--output", str(repository), "--variant", HALF, "--quiet"]
    assert to_onnx([*source, *written]) == 0
    add_artifact(repository, variant="single", input=image(1, 1))
    add_artifact(repository, variant="negated", version=2)
    add_artifact(repository, variant="negated", version=10, weights=-WEIGHTS)
    return repository


@pytest.fixture(scope="module")
def exported(artifacts: Path) -> Path:
    repository = artifacts.parent / "triton"
    assert main([str(artifacts), "--output", str(repository), "--quiet"]) == DONE
    return repository


@pytest.fixture(scope="module")
def triton(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    with triton_server(exported, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def client(triton: Triton) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(triton.http) as client:
        yield client


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """Return the 360 held-out digits as JPEG files of another size than the network's."""
    _, test = load_split((40, 36))
    return [encode(image, "JPEG", quality=90) for image in test.images]


def pixels_of(files: list[bytes], manifest_of: Path) -> NDArray[np.uint8]:
    """Return the input [n, H, W, 3] as posbake's service prepares it."""
    manifest = read_artifact(manifest_of).manifest
    reading = Reading(10**6, find_resizer("simd"))
    rows = [preprocess(reading.decode(file, [manifest.preprocess]), manifest, reading) for file in files]
    return np.concatenate(rows).astype(np.uint8, casting="no")


def run_locally(graph: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    logits: NDArray[np.float32] = session.run(["logits"], {"image": pixels})[0]
    return logits


def infer(client: InferenceServerClient, model: str, name: str, images: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return a model's output for images, 32 per request."""
    output = "image" if ".pixels-" in model else "logits"
    answers = []
    for start in range(0, len(images), 32):
        batch = images[start : start + 32]
        tensor = InferInput(name, batch.shape, "BYTES" if batch.dtype == object else "UINT8")
        tensor.set_data_from_numpy(batch)
        answers.append(client.infer(model, [tensor]).as_numpy(output))
    return np.concatenate(answers)


def test_every_variant_has_posbakes_classes_and_logits_for_360_image_files(
    client: InferenceServerClient, artifacts: Path, files: list[bytes]
) -> None:
    locations = [location for location in scan(artifacts) if location.model == "digits"]
    assert len(locations) == 17
    pixels = pixels_of(files, locations[0].path)
    batch = np.array(files, object)[:, None]
    for location in locations:
        expected = run_locally(read_artifact(location.path).graph, pixels)
        logits = infer(client, f"digits.{location.variant}.image", "image_bytes", batch)
        np.testing.assert_array_equal(logits.argmax(axis=1), expected.argmax(axis=1), err_msg=location.variant)
        # Two versions of ONNX Runtime round the same graph differently; fp16 has 11 bits.
        np.testing.assert_allclose(logits, expected, atol=0.05 if location.variant == HALF else 2e-4)


def test_the_network_accepts_pixels_as_the_artifact_does(
    client: InferenceServerClient, artifacts: Path, files: list[bytes]
) -> None:
    pixels = pixels_of(files[:40], artifacts / "digits/learned/1")
    from_pixels = infer(client, "digits.learned", "image", pixels)
    from_files = infer(client, "digits.learned.image", "image_bytes", np.array(files[:40], object)[:, None])
    np.testing.assert_allclose(from_pixels, from_files, atol=1e-5)


def test_pixels_equal_those_of_the_service(
    client: InferenceServerClient, exported: Path, artifacts: Path, files: list[bytes]
) -> None:
    (model,) = exported.glob("digits.pixels-*")
    kinds = [encode(random_pixels(375, 500, seed), kind) for seed, kind in enumerate(("JPEG", "PNG", "WEBP", "BMP"))]
    found = infer(client, model.name, "image_bytes", np.array([*files, *kinds], object)[:, None])
    np.testing.assert_array_equal(found, pixels_of([*files, *kinds], artifacts / "digits/learned/1"))


def test_grpc_gives_the_logits_of_http(
    triton: Triton, client: InferenceServerClient, files: list[bytes], tmp_path: Path
) -> None:
    arrays = {f"{index:03}": np.frombuffer(file, np.uint8) for index, file in enumerate(files)}
    np.savez(tmp_path / "files.npz", **arrays)  # type: ignore[arg-type]
    arguments: list[str | Path] = [triton.grpc, "digits.rope.image", tmp_path / "files.npz", tmp_path / "logits.npy"]
    subprocess.run([PYTHON, CLIENT, *arguments], check=True)
    over_http = infer(client, "digits.rope.image", "image_bytes", np.array(files, object)[:, None])
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), over_http, atol=1e-5)


def test_classes_have_the_labels_of_the_artifact(client: InferenceServerClient) -> None:
    file = (DIGITS / "samples" / "7.png").read_bytes()
    for model, name, value in (
        ("digits.rope.image", "image_bytes", np.array([[file]], object)),
        ("digits.rope", "image", np.zeros((1, 32, 32, 3), np.uint8)),
    ):
        tensor = InferInput(name, value.shape, "BYTES" if value.dtype == object else "UINT8")
        tensor.set_data_from_numpy(value)
        output = InferRequestedOutput("logits", class_count=2)
        best = client.infer(model, [tensor], outputs=[output]).as_numpy("logits")
        value_, index, label = best[0][0].decode().split(":")
        assert index == label
        assert float(value_) > float(best[0][1].decode().split(":")[0])
        if name == "image_bytes":
            assert label == "7"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([b"no image"], "element 0 of 'image_bytes': the body is not an image"),
        ([encode(random_pixels()), truncated_jpeg()], "element 1 of 'image_bytes': the image is damaged"),
    ],
)
def test_a_bad_image_gets_the_error_message_of_the_service(
    client: InferenceServerClient, files: list[bytes], message: str
) -> None:
    with pytest.raises(InferenceServerException) as error:
        infer(client, "digits.rope.image", "image_bytes", np.array(files, object)[:, None])
    assert message in error.value.message()
    assert error.value.status() == "400"


def test_every_version_is_served_and_the_ensemble_runs_the_newest(client: InferenceServerClient) -> None:
    assert client.get_model_metadata("colours.negated")["versions"] == ["2", "10"]
    assert client.get_model_metadata("colours.negated.image")["versions"] == ["10"]
    picture = random_pixels()
    tensor = InferInput("image", [1, 8, 6, 3], "UINT8")
    tensor.set_data_from_numpy(picture[np.newaxis])
    second, tenth = (
        client.infer("colours.negated", [tensor], model_version=version).as_numpy("logits") for version in ("2", "10")
    )
    np.testing.assert_allclose(second, -tenth, rtol=1e-5)
    files = np.array([[encode(picture)]], object)
    np.testing.assert_allclose(infer(client, "colours.negated.image", "image_bytes", files), tenth, rtol=1e-5)


def test_a_graph_for_one_image_is_served_without_a_batch(client: InferenceServerClient) -> None:
    picture = random_pixels()
    files = np.array([encode(picture)], object)
    assert client.get_model_config("colours.single.image")["max_batch_size"] == 0
    logits = infer(client, "colours.single.image", "image_bytes", files)
    np.testing.assert_allclose(logits, expected_logits(picture[np.newaxis]), rtol=1e-5)
