"""Golden check at load: a version that does not reproduce the network's logits is not served."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal
from unittest.mock import ANY

import numpy as np
import onnx
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from onnx import numpy_helper

from artifact import Artifact, GoldenFileError, read_artifact
from imaging.preprocess import Tensor
from service import backends
from service.app import create_app
from service.backends.onnx_runtime import OnnxRuntimeBackend
from service.backends.warming import warm
from service.catalogue.loading import load_catalogue
from service.problems.errors import GoldenError, GraphError
from service.settings import Settings
from tests.artifact.golden import LIMITS, add_golden, vouch
from tests.service.artifacts import MEAN, STD, WEIGHTS, add_artifact

PIXELS = np.random.default_rng(0).integers(40, 256, (4, 8, 6, 3), dtype=np.uint8)


def expected_logits(dtype: Literal["uint8", "float32"]) -> NDArray[np.float64]:
    """Return mean colours times WEIGHTS, in float64."""
    means = PIXELS.astype(np.float64).mean(axis=(1, 2))
    if dtype == "float32":
        means = (means / 255 - MEAN) / STD
    logits: NDArray[np.float64] = means @ WEIGHTS.astype(np.float64)
    return logits


def add(
    repository: Path,
    variant: str = "mean",
    *,
    weights: NDArray[np.float32] = WEIGHTS,
    dtype: Literal["uint8", "float32"] = "uint8",
    batch: int = 64,
    limits: dict[str, float] = LIMITS,
) -> Path:
    """Write an artifact whose graph has `weights`, with a golden file for WEIGHTS."""
    size = {"name": "image", "dtype": dtype, "layout": "NHWC" if dtype == "uint8" else "NCHW", "height": 8, "width": 6}
    add_artifact(
        repository, variant=variant, weights=weights, dtype=dtype, input={**size, "batch": {"min": 1, "max": batch}}
    )
    path = repository / "colours" / variant / "1"
    add_golden(path, PIXELS, expected_logits(dtype), limits)
    return path


class StubBackend(OnnxRuntimeBackend):
    """ONNX Runtime with logits changed by `transform`; records the size of each run and whether it was spread."""

    transform: ClassVar[Callable[[NDArray[np.float32]], NDArray[np.float32]]] = staticmethod(lambda logits: logits)
    runs: ClassVar[list[tuple[int, bool]]] = []
    on_device: ClassVar[bool] = False

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
        super().__init__(artifact, device, threads, cpu_precision)
        self.on_cores = not self.on_device

    def run(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:
        self.runs.append((len(images), spread))
        return type(self).transform(super().run(images, spread=spread))


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> type[StubBackend]:
    monkeypatch.setitem(backends.BACKENDS, "stub", (__name__, "StubBackend"))
    for name, value in (("transform", StubBackend.transform), ("runs", [])):
        monkeypatch.setattr(StubBackend, name, staticmethod(value) if callable(value) else value)
    return StubBackend


def zeros_beyond_one(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return logits if len(logits) == 1 else np.zeros_like(logits)


def settings(repository: Path, backend: str = "onnxruntime", max_batch: int = 8) -> Settings:
    return Settings(repository=repository, backend=backend, threads=2, max_batch=max_batch)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_passed_check_is_reported_with_its_error_and_limit(
    dtype: Literal["uint8", "float32"], tmp_path: Path
) -> None:
    add(tmp_path, dtype=dtype)
    add_artifact(tmp_path, variant="old")
    with TestClient(create_app(settings(tmp_path))) as client:
        new, old = client.get("/v1/models/colours").json()["variants"]
        golden = client.get("/v1/models/colours/variants/mean").json()["versions"][0]["golden"]
    assert (new["variant"], new["golden"]) == ("mean", golden)
    assert (golden["status"], golden["precision"], golden["images"], golden["limit"]) == ("passed", "fp32", 4, 1e-4)
    assert 0 < golden["error"] < 1e-6
    assert old["golden"]["status"] == "unchecked"


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("factor", [1.01, 0.99])
def test_a_weight_off_by_one_percent_is_refused_with_error_and_limit(row: int, factor: float, tmp_path: Path) -> None:
    weights = WEIGHTS.copy()
    weights[row, row] *= factor
    add(tmp_path)
    add(tmp_path, "off", weights=weights)
    (refused,) = load_catalogue(settings(tmp_path)).refused
    assert refused.name == "colours/off/1"
    wrong = np.abs(PIXELS.mean(axis=(1, 2))[:, row] * (weights - WEIGHTS)[row, row]).max()
    figure = f"{wrong / np.abs(expected_logits('uint8')).max():.1e}"
    assert f"off by {figure} of the largest logit from batch 1 on, the limit is 1.0e-04 for fp32 on" in refused.reason
    assert "onnxruntime-cpu" in refused.reason
    assert "export it again, or choose another --backend" in refused.reason


def test_swapped_outputs_are_refused(tmp_path: Path) -> None:
    path = add(tmp_path, weights=np.ascontiguousarray(WEIGHTS[:, [1, 0, 2, 3]]))
    backend = OnnxRuntimeBackend(read_artifact(path), "cpu", 1)
    with pytest.raises(GoldenError, match=r"off by .*, the limit is"):
        warm(read_artifact(path), backend, 8)


WRONG = {
    "zeros beyond batch 1": (zeros_beyond_one, "off by 1.0e\\+00 of the largest logit from batch 4 on"),
    "NaN beyond batch 1": (
        lambda logits: logits if len(logits) == 1 else logits * np.nan,
        "off by inf .* from batch 4 on",
    ),
    "one image's logits for all": (lambda logits: np.repeat(logits[:1], len(logits), axis=0), "from batch 4 on"),
    "rows in reverse order": (lambda logits: logits[::-1], "from batch 4 on"),
    "the last row zero": (
        lambda logits: np.concatenate([logits[:-1], logits[-1:] * (len(logits) == 1)]),
        "from batch 4 on",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_runtime_that_is_wrong_at_larger_batches_is_refused(
    name: str, stub: type[StubBackend], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    transform, reason = WRONG[name]
    artifact = read_artifact(add(tmp_path))
    monkeypatch.setattr(stub, "transform", staticmethod(transform))
    backend = stub(artifact, "cpu", 1)
    with pytest.raises(GoldenError, match=reason):
        warm(artifact, backend, 8)
    first = warm(artifact, backend, 1).golden  # correct at batch 1
    assert first is not None
    assert first.error < 1e-6


@pytest.mark.parametrize(
    ("largest", "runs"),
    [
        (1, [(1, True)] * 3 + [(1, False)] * 2),
        (2, [(1, True)] * 3 + [(2, True)] * 2 + [(1, False), (2, False)]),
        (4, [(1, True)] * 3 + [(4, True), (1, False), (4, False)]),
        (16, [(1, True)] * 3 + [(16, True), (1, False), (4, False)]),
    ],
)
def test_each_image_runs_alone_and_in_a_batch_spread_and_not(
    largest: int, runs: list[tuple[int, bool]], stub: type[StubBackend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = read_artifact(add(tmp_path))
    warm(artifact, stub(artifact, "cpu", 2), largest)
    assert stub.runs == runs
    stub.runs.clear()
    monkeypatch.setattr(stub, "on_device", True)
    warm(artifact, stub(artifact, "cpu", 2), largest)
    assert [size for size, _ in stub.runs] == [1] * 4 + [size for size, spread in runs if spread and size > 1]


@pytest.mark.parametrize("largest", [1, 2, 16])
def test_a_backend_that_computes_images_separately_runs_all_in_a_batch_and_one_in_each_other_way(
    largest: int, stub: type[StubBackend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub, "batched", False)
    artifact = read_artifact(add(tmp_path))
    warm(artifact, stub(artifact, "cpu", 2), largest)
    assert stub.runs == [(1, True), (1, False), (4, True)]
    for wrong_at in stub.runs[:3]:
        monkeypatch.setattr(stub, "run", wrong_run(wrong_at))
        with pytest.raises(GoldenError, match=f"from batch {wrong_at[0]} on"):
            warm(artifact, stub(artifact, "cpu", 2), largest)


def wrong_run(wrong_at: tuple[int, bool]) -> Callable[..., NDArray[np.float32]]:
    """Return a backend's `run` with wrong logits for runs of this size that are spread or not."""

    def run(backend: StubBackend, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:
        logits = OnnxRuntimeBackend.run(backend, images, spread=spread)
        return np.zeros_like(logits) if (len(images), spread) == wrong_at else logits

    return run


def test_the_limit_depends_on_the_running_precision(
    stub: type[StubBackend], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    artifact = read_artifact(add(tmp_path))
    backend = stub(artifact, "cpu", 1)
    monkeypatch.setattr(stub, "transform", staticmethod(lambda logits: logits * np.float32(1.02)))
    with pytest.raises(GoldenError, match=r"off by 2\.0e-02 .* limit is 1\.0e-04 for fp32"):
        warm(artifact, backend, 8)
    backend.precision = "bf16"
    found = warm(artifact, backend, 8).golden
    assert found is not None
    assert (found.precision, found.limit, round(found.error, 4)) == ("bf16", 5e-2, 0.02)
    backend.precision = "int8+bf16"  # bf16 for operators that are not quantised
    assert warm(artifact, backend, 8).golden == replace(found, precision="int8+bf16", seconds=ANY)
    backend.precision = "int4"
    with pytest.raises(GoldenFileError, match="no limit of the golden check for int4"):
        warm(artifact, backend, 8)


def test_a_restart_is_checked(stub: type[StubBackend], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add(tmp_path)
    servable = load_catalogue(settings(tmp_path, "stub")).newest("colours", "mean")
    servable.restart(8)
    monkeypatch.setattr(stub, "transform", staticmethod(zeros_beyond_one))
    with pytest.raises(GoldenError, match="from batch 4 on"):
        servable.restart(8)


def test_a_damaged_golden_file_is_refused_by_name(tmp_path: Path) -> None:
    add(tmp_path)
    np.savez(add(tmp_path, "other") / "golden.npz", pixels=PIXELS, logits=expected_logits("uint8")[:, :2])
    np.savez(add(tmp_path, "shape") / "golden.npz", pixels=PIXELS, logits=expected_logits("uint8")[:, :2])
    vouch(tmp_path / "colours/shape/1")
    other, shape = load_catalogue(settings(tmp_path)).refused
    assert "golden.npz is not the file the manifest describes" in other.reason
    assert "golden.npz contains logits.npy of <f8 (4, 2), expected <f8 (4, 4)" in shape.reason
    assert str(tmp_path) not in other.reason + shape.reason


def test_a_batch_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    artifact = read_artifact(add(tmp_path))
    with pytest.raises(GraphError, match="lower --max-batch"):
        warm(artifact, OnnxRuntimeBackend(artifact, "cpu", 1), 2**26)


def change(artifact: Artifact, name: str, edit: Callable[[NDArray[np.float32]], None]) -> None:
    """Edit an initialiser of the graph, and update the file's hash in the manifest."""
    model = onnx.load(artifact.graph)
    (initialiser,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    numbers = numpy_helper.to_array(initialiser).copy()
    edit(numbers)
    initialiser.CopyFrom(numpy_helper.from_array(numbers, name))
    onnx.save(model, artifact.graph)
    vouch(artifact.path, "model.onnx")


def one_percent(numbers: NDArray[np.float32]) -> None:
    numbers.reshape(-1)[np.abs(numbers).argmax()] *= 1.01


def swap(numbers: NDArray[np.float32]) -> None:
    numbers[[3, 8]] = numbers[[8, 3]]


CHANGES: list[tuple[str, str, Callable[[NDArray[np.float32]], None]]] = [
    ("swin-table", "patch_embed.proj.weight", one_percent),
    ("swin-table", "stages.1.blocks.0.mlp.fc1.weight", one_percent),
    ("swin-table", "head.weight", one_percent),
    ("swin-table", "head.bias", swap),
    ("swin-table", "head.weight", swap),
    ("rope", "blocks.0.attention.proj.weight", one_percent),
    ("rope", "blocks.1.mlp.fc1.bias", one_percent),
]


@pytest.mark.parametrize(("variant", "weight", "edit"), CHANGES)
def test_an_exported_network_with_one_changed_weight_or_two_swapped_outputs_is_refused(
    variant: str, weight: str, edit: Callable[[NDArray[np.float32]], None], digits_repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / variant
    shutil.copytree(digits_repository / "digits" / variant / "1", path)
    before = read_artifact(path)
    passed = warm(before, OnnxRuntimeBackend(before, "cpu", 1), 4).golden
    assert passed is not None
    assert passed.error < 1e-6 < passed.limit == 1e-4
    change(before, weight, edit)
    after = read_artifact(path)
    with pytest.raises(GoldenError, match=r"its logits of the golden images are off by .* from batch 1 on"):
        warm(after, OnnxRuntimeBackend(after, "cpu", 1), 4)
