"""The option `--precision` on the digits: artifacts, manifests, refusals and serving."""

from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from rich.console import Console

from artifact import Artifact, read_artifact, read_golden
from examples.digits.data import load_split
from export.pipeline import Exported
from export.report.terminal import print_report
from export.to_onnx import main
from export.verify.sessions import cpu_session
from models.sources import Checkpoint, Overrides, load_source
from service.app import create_app
from service.settings import Settings
from tests.conftest import DIGITS
from tests.export.graphs import save_wrong_graph
from tests.service.pictures import encode

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_traces")]

SWIN, IRPE = "swin-log-cpb", "irpe-product-contextual-k"
MADE = ((SWIN, "fp16"), (SWIN, "int8"), (IRPE, "bf16"))
IMAGES = 128


def arguments(variant: str, *more: str) -> list[str]:
    checkpoint = DIGITS / "checkpoints" / f"{variant}.safetensors"
    return [f"posbake:{DIGITS / 'configs' / variant}.json", "--checkpoint", str(checkpoint), "--quiet", *more]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of training images; none belongs to the test split."""
    directory = tmp_path_factory.mktemp("images") / "train"
    directory.mkdir()
    train, _ = load_split()
    for number, image in enumerate(train.images[:IMAGES]):
        Image.fromarray(image).save(directory / f"{number:04}.png")
    return directory


@pytest.fixture(scope="module")
def repository(scans: Path, shared_traces: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    directory = tmp_path_factory.mktemp("precisions")
    for variant, precision in MADE:
        images = ["--calibration", str(scans)] if precision != "bf16" else []
        assert main(arguments(variant, "--precision", precision, "--output", str(directory), *images)) == 0
    return directory


def artifact_of(repository: Path, variant: str, precision: str) -> Artifact:
    return read_artifact(repository / "digits" / f"{variant}-{precision}" / "1")


@pytest.mark.parametrize(("variant", "precision"), MADE)
def test_the_manifest_records_precision_and_parity(variant: str, precision: str, repository: Path) -> None:
    artifact = artifact_of(repository, variant, precision)
    manifest, parity = artifact.manifest, artifact.manifest.parity
    assert (manifest.variant, manifest.encoding, manifest.precision) == (f"{variant}-{precision}", variant, precision)
    assert manifest.accuracy is None  # the known accuracy was measured in float32
    assert parity.cosine is not None
    assert parity.cosine.min <= parity.cosine.mean
    assert parity.cosine.limit <= parity.cosine.mean
    assert parity.float32_error is not None
    assert parity.float32_error <= parity.tolerance < parity.max_rel_error
    assert manifest.graph.constant_only_nodes == 0
    if precision == "bf16":
        assert (parity.calibration, parity.runs) == (None, ("emulated",))
        assert parity.batches == (1, 2, 3, 7)
        assert parity.batch_errors is not None
        assert max(parity.batch_errors) == parity.max_rel_error
    else:
        assert parity.calibration is not None
        assert (parity.calibration.directory, parity.calibration.images) == ("train", IMAGES)
        assert parity.top1_agreement >= 0.99
        assert parity.runs == (("native",) if precision == "int8" else ("emulated", "native"))
    golden = read_golden(artifact)
    assert golden is not None
    assert manifest.golden is not None
    assert manifest.golden.limits[manifest.precision] == pytest.approx(3 * parity.max_rel_error, rel=5e-3)
    pixels = np.frombuffer(golden.pixels, np.uint8).reshape(golden.shape)
    assert (pixels[..., 0] == pixels[..., 2]).all() == (precision != "bf16")  # scans are grey, synthetic images are not
    text = (artifact.path / "manifest.json").read_text()
    assert str(repository) not in text
    assert "/tmp" not in text


def test_int8_keeps_top1_within_a_point_of_float32(repository: Path) -> None:
    weights = Checkpoint(DIGITS / "checkpoints" / f"{SWIN}.safetensors")
    known = load_source(f"posbake:{DIGITS / 'configs' / SWIN}.json", weights, Overrides()).accuracy
    assert known is not None
    _, test = load_split()
    assert len(test.labels) == known.count == 360
    session = cpu_session(artifact_of(repository, SWIN, "int8").graph)
    logits = session.run(["logits"], {"image": test.images})[0]
    assert float((logits.argmax(axis=1) == test.labels).mean()) >= known.top1 - 0.01
    assert float((logits.argmax(axis=1) == np.roll(test.labels, 1)).mean()) < 0.5  # the comparison is able to fail


def test_the_table_shows_float32_and_the_precision(repository: Path) -> None:
    console = Console(record=True, width=200, quiet=True)
    with console.capture() as shown:
        console.quiet = False
        for variant, precision in ((SWIN, "fp16"), (IRPE, "bf16")):
            artifact = artifact_of(repository, variant, precision)
            print_report(Exported(artifact.path, artifact.manifest, {}), console)
    text = shown.get()
    for words in (
        "float32 parity",
        "fp16 parity",
        f"{IMAGES} images of train",
        "8 Clip, 8 Div, 8 ReduceL2",
        "the graph itself was not run",
        "on synthetic images",
    ):
        assert words in text


REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "int8 without images": (["--precision", "int8"], ["int8 requires images", "--calibration DIR"]),
    "images for float32": (["--calibration", "."], ["--precision fp16, bf16 or int8"]),
    "a limit for float32": (["--min-cosine", "0.5"], ["--precision fp16, bf16 or int8"]),
    "no such directory": (["--precision", "int8", "--calibration", "nowhere"], ["nowhere is not a directory"]),
    "a directory without images": (
        ["--precision", "int8", "--calibration", str(DIGITS / "configs")],
        ["contains 0 images", "at least 16"],
    ),
    "a limit that no bf16 graph meets": (
        ["--precision", "bf16", "--min-cosine", "1"],
        [
            "the bf16 graph is too far from the network: mean cosine 0.99",
            "limit 1.0 (--min-cosine)",
            "float32 graph passed",
        ],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_names_the_remedy_and_leaves_no_artifact(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, words = REFUSED[case]
    assert main(arguments("sincos", *options, "--output", str(tmp_path / "repository"))) == 1
    message = capsys.readouterr().err
    assert all(word in message for word in words), message
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_float32_graph_is_not_reported_as_a_precision_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.pipeline.save_graph", save_wrong_graph)
    assert main(arguments("sincos", "--precision", "fp16", "--output", str(tmp_path / "repository"))) == 1
    message = capsys.readouterr().err
    assert "off by" in message
    assert "fp16" not in message


@pytest.mark.parametrize("share", ["2", "-0.1", "much"])
def test_a_share_outside_0_to_1_is_a_usage_error(share: str) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments("sincos", "--output", "x", "--precision", "fp16", "--min-agreement", share))
    assert raised.value.code == 2


def test_fp16_and_int8_are_served_and_bf16_is_refused_with_the_reason(repository: Path) -> None:
    _, test = load_split()
    picture = encode(test.images[0])
    with TestClient(create_app(Settings(repository=repository))) as client:
        for precision in ("fp16", "int8"):
            answer = client.post(f"/v1/classify?variant={SWIN}-{precision}", content=picture)
            assert answer.status_code == 200, answer.text
            assert answer.json()["precision"] == precision
            assert answer.json()["predictions"][0]["label"] == str(test.labels[0])
        assert client.post(f"/v1/classify?variant={IRPE}-bf16", content=picture).status_code == 404
        (refused,) = client.get("/v1/models").json()["refused"]
    assert refused["name"] == f"digits/{IRPE}-bf16/1"
    assert "Could not find an implementation for" in refused["reason"]
