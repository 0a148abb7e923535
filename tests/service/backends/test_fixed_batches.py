"""ONNX Runtime's device path with the CPU in place of a GPU: fixed buffers, padding, logits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from artifact import Artifact, read_artifact
from imaging.preprocess import Tensor
from service.backends.cuda_host import PinnedBuffer
from service.backends.fixed_batches import FixedBatches, Memory, Work, fixed_sizes, run_options
from service.backends.onnx_runtime import DEVICES, Device, OnnxRuntimeBackend
from service.backends.warming import warm
from tests.artifact.hostile import edit
from tests.service.artifacts import add_artifact
from tests.service.hostile_graphs import CONSTANTS, MEAN, constant, put_graph
from tests.service.pictures import random_pixels

T = TypeVar("T")

CPU = Memory("cpu")
STAND_IN = Device({"CPUExecutionProvider": {}}, memory="cpu")
"""CPU device that is used like a GPU: one session, fixed buffers, one thread at a time."""

MAX_BATCH = 12
IMAGES = np.stack([random_pixels(8, 6, seed) for seed in range(MAX_BATCH)])


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    add_artifact(tmp_path)
    return read_artifact(tmp_path / "colours/mean/1")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(DEVICES, "stand-in", STAND_IN)
    return "stand-in"


class Session:
    """Real session that records its runs: "fixed" or "plain", with the batch size."""

    def __init__(self, artifact: Artifact) -> None:
        self.real = onnxruntime.InferenceSession(artifact.graph, providers=["CPUExecutionProvider"])
        self.ran: list[tuple[str, int]] = []

    def io_binding(self) -> onnxruntime.IOBinding:
        return self.real.io_binding()

    def run_with_iobinding(self, binding: onnxruntime.IOBinding, options: onnxruntime.RunOptions) -> None:
        self.real.run_with_iobinding(binding, options)
        self.ran.append(("fixed", len(binding.copy_outputs_to_cpu()[0])))

    def plain(self, images: Tensor) -> NDArray[np.float32]:
        self.ran.append(("plain", len(images)))
        logits: NDArray[np.float32] = self.real.run(["logits"], {"image": images})[0]
        return logits


def costs(session: Session, seconds: Callable[[str, int], float]) -> Callable[[Work], float]:
    """Return a function that gives a run's duration as `seconds` of the recorded run, without a clock."""

    def measure(work: Work) -> float:
        work()
        return seconds(*session.ran[-1])

    return measure


def call_directly(work: Callable[[], T], /, *, captures: bool = False) -> T:  # noqa: ARG001 -- the protocol's
    return work()


def batches(artifact: Artifact, session: Session, seconds: Callable[[str, int], float]) -> FixedBatches:
    plain, measure = session.plain, costs(session, seconds)
    return FixedBatches(session, artifact.manifest, MAX_BATCH, CPU, plain, call_directly, measure)


def fixed_is_free(how: str, _: int) -> float:
    return 0.0 if how == "fixed" else 1.0


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])]
)
def test_buffer_sizes_are_powers_of_two_and_the_largest_batch(largest: int, sizes: list[int]) -> None:
    assert fixed_sizes(largest) == sizes


def in_fp16(path: Path) -> None:
    """Replace an artifact's graph by one in float16 with float32 input and output, as `--precision fp16` writes it."""

    def write(manifest: dict[str, Any]) -> None:
        manifest["precision"], manifest["parity"]["cosine"] = "fp16", {"min": 1.0, "mean": 1.0, "limit": 0.99}

    half = TensorProto.FLOAT16
    put_graph(
        path,
        *MEAN[:2],
        helper.make_node("Cast", ["means"], ["narrow"], to=half),
        helper.make_node("MatMul", ["narrow", "weights"], ["product"]),
        helper.make_node("Cast", ["product"], ["logits"], to=TensorProto.FLOAT),
        constants=(CONSTANTS[0], constant("weights", np.eye(3, 4), np.float16)),
    )
    edit(path, write)


def check_logits(artifact: Artifact, device: str) -> None:
    """Compare the logits of every batch size with those of a plain session."""
    session = onnxruntime.InferenceSession(artifact.graph, providers=["CPUExecutionProvider"])
    shape = (MAX_BATCH, *session.get_inputs()[0].shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape).astype(artifact.manifest.input.dtype)
    backend = OnnxRuntimeBackend(artifact, device, 1)
    warm(artifact, backend, MAX_BATCH)
    assert (backend.name, backend.on_cores) == (f"onnxruntime-{device}", False)
    for count in (1, 2, 3, 7, MAX_BATCH, 1):
        expected = session.run(["logits"], {"image": images[:count]})[0]
        np.testing.assert_allclose(backend.run(images[:count]), expected, rtol=1e-5, atol=1e-5)
        assert count == 1 or np.ptp(expected, axis=0).max() > 0  # the logits differ between images
    assert backend.precision == artifact.manifest.precision
    backend.close()


@pytest.mark.slow
def test_logits_of_an_exported_network_equal_those_of_a_plain_session(digits_repository: Path, stand_in: str) -> None:
    check_logits(read_artifact(digits_repository / "digits/swin-table/1"), stand_in)


@pytest.mark.parametrize("kind", ["float32 input", "fp16"])
def test_logits_of_float32_inputs_and_fp16_graphs_equal_those_of_a_plain_session(
    tmp_path: Path, stand_in: str, kind: str
) -> None:
    add_artifact(tmp_path, dtype="uint8" if kind == "fp16" else "float32")
    path = tmp_path / "colours/mean/1"
    if kind == "fp16":
        in_fp16(path)
    check_logits(read_artifact(path), stand_in)


def test_padded_rows_are_not_returned_and_do_not_change_the_others(artifact: Artifact) -> None:
    session = Session(artifact)
    fixed = batches(artifact, session, fixed_is_free)
    assert fixed.padded == {1: range(1, 2), 2: range(2, 3), 4: range(3, 5), 8: range(5, 9), 12: range(9, 13)}
    fixed.run(IMAGES[:8])  # these images stay in the buffer
    for count in (1, 2, 3, 7, 5, MAX_BATCH):
        logits = fixed.run(IMAGES[-count:])
        assert session.ran[-1] == ("fixed", next(size for size in fixed_sizes(MAX_BATCH) if size >= count))
        np.testing.assert_array_equal(logits, session.plain(IMAGES[-count:]))


def test_returned_logits_do_not_change_when_the_buffer_is_reused(artifact: Artifact) -> None:
    fixed = batches(artifact, Session(artifact), fixed_is_free)
    first = fixed.run(IMAGES[:2])
    before = first.copy()
    second = fixed.run(IMAGES[2:4])
    np.testing.assert_array_equal(first, before)
    assert not np.array_equal(first, second)


def test_batch_sizes_measured_as_slower_in_a_buffer_run_without_one(artifact: Artifact) -> None:
    session = Session(artifact)
    # A launch costs 1.5 without a buffer and 0 with one; each image costs 1. So 7 is padded to 8, and 6 is not.
    fixed = batches(artifact, session, lambda how, count: count + (1.5 if how == "plain" else 0))
    assert fixed.padded == {1: range(1, 2), 2: range(2, 3), 4: range(3, 5), 8: range(7, 9), 12: range(11, 13)}
    for count, expected in ((3, ("fixed", 4)), (6, ("plain", 6)), (7, ("fixed", 8)), (9, ("plain", 9))):
        logits = fixed.run(IMAGES[:count])
        assert session.ran[-1] == expected
        np.testing.assert_array_equal(logits, session.plain(IMAGES[:count]))


def test_no_buffer_is_used_if_all_are_slower(artifact: Artifact) -> None:
    session = Session(artifact)
    fixed = batches(artifact, session, lambda how, count: count + (0.1 if how == "fixed" else 0))
    assert not any(fixed.padded.values())
    fixed.run(IMAGES[:2])
    assert session.ran[-1] == ("plain", 2)


@pytest.mark.parametrize(
    "images",
    [IMAGES.astype(np.float32), IMAGES[:, :4], np.concatenate([IMAGES, IMAGES])],
    ids=["type", "shape", "size"],
)
def test_images_that_do_not_fit_a_buffer_are_passed_to_onnx_runtime(artifact: Artifact, images: Tensor) -> None:
    session = Session(artifact)
    fixed = batches(artifact, session, fixed_is_free)
    session.ran.clear()
    if images.dtype == np.uint8 and images.shape[1] == 8:
        assert len(fixed.run(images)) == 2 * MAX_BATCH
    else:
        with pytest.raises(Exception, match=r"INVALID_ARGUMENT"):
            fixed.run(images)
    assert session.ran == [("plain", len(images))]


def test_each_buffer_size_has_its_own_cuda_graph_and_plain_runs_have_none() -> None:
    assert run_options(8).get_run_config_entry("gpu_graph_id") == "8"
    assert run_options(-1).get_run_config_entry("gpu_graph_id") == "-1"
    with pytest.raises(RuntimeError):
        run_options(None).get_run_config_entry("gpu_graph_id")


class Cudart:
    """Fake CUDA runtime that records page-locked addresses, or returns an error."""

    def __init__(self, status: int = 0) -> None:
        self.status, self.locked = status, set[int]()

    def cudaHostRegister(self, address, size, flags) -> int:  # type: ignore[no-untyped-def]  # noqa: ANN001, N802
        assert (size.value, flags.value, address.value % 4096) == (24, 0, 0)
        if not self.status:
            self.locked.add(address.value)
        return self.status

    def cudaHostUnregister(self, address) -> int:  # type: ignore[no-untyped-def]  # noqa: ANN001, N802
        self.locked.remove(address.value)
        return 0


def test_pages_are_locked_while_the_buffer_exists() -> None:
    cudart = Cudart()
    buffer = PinnedBuffer((2, 3), np.float32, cudart)
    assert buffer.locked
    assert cudart.locked == {buffer.array.ctypes.data}
    assert not buffer.array.any()
    del buffer
    assert not cudart.locked


def test_pages_that_cannot_be_locked_are_used_unlocked_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cudart = Cudart(status=2)
    buffer = PinnedBuffer((2, 3), np.float32, cudart)
    buffer.array[:] = 1
    assert not buffer.locked
    assert "CUDA cannot lock 24 bytes (error 2)" in caplog.text
    del buffer  # unlocks no pages
