"""OpenVINO: the same logits as ONNX Runtime, from any number of threads, in the reported precision."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from artifact import Artifact, read_artifact, scan
from examples.digits.data import load_split
from service.backends.base import Backend
from service.backends.onnx_runtime import OnnxRuntimeBackend
from service.backends.openvino import OpenVinoBackend, _core
from service.backends.openvino_reading import read_graph
from service.catalogue.loading import Loader
from service.problems.errors import BackendUnavailableError, GraphError
from service.settings import Settings
from tests.artifact.hostile import Damage
from tests.conftest import VARIANTS
from tests.service.artifacts import WEIGHTS, add_artifact
from tests.service.hostile_graphs import CONSTANTS, MEAN, constant, data_dependent_shape, loop_of_three, put_graph
from tests.service.pictures import random_pixels
from tests.service.test_external_data import externalise_weights

pytestmark = pytest.mark.slow

IMAGES = np.stack([random_pixels(8, 6, seed) for seed in range(3)])
LOGITS = IMAGES.astype(np.float64).mean(axis=(1, 2)) @ WEIGHTS.astype(np.float64)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    add_artifact(tmp_path)
    return read_artifact(tmp_path / "colours/mean/1")


@pytest.fixture(scope="module")
def scans() -> NDArray[np.uint8]:
    """Return the 360 held-out images of the digits model."""
    return load_split()[1].images


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_digits_variant_classifies_all_held_out_images_as_onnx_runtime_does(
    digits_repository: Path, variant: str, scans: NDArray[np.uint8]
) -> None:
    artifact = read_artifact(digits_repository / "digits" / variant / "1")
    expected = OnnxRuntimeBackend(artifact, "cpu", 1).run(scans)
    found = OpenVinoBackend(artifact, "cpu", 1).run(scans)
    # float32 sums in another order differ by at most 3e-6 for logits up to 5
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert len(set(expected.argmax(axis=1))) == 10
    with pytest.raises(AssertionError):  # the comparison above can fail
        np.testing.assert_allclose(found[::-1], expected, atol=1e-4)


def test_logits_equal_those_computed_by_hand_for_read_only_and_fortran_order_arrays(artifact: Artifact) -> None:
    backend = OpenVinoBackend(artifact, "cpu", 2)
    frozen = np.frombuffer(IMAGES.tobytes(), np.uint8).reshape(IMAGES.shape)
    for images in (IMAGES, frozen, np.asfortranarray(IMAGES)):
        for spread in (True, False):
            np.testing.assert_allclose(backend.run(images, spread=spread), LOGITS, rtol=1e-5)
    assert backend.on_cores
    assert backend.name == "openvino-cpu"


def test_concurrent_runs_get_their_own_logits(artifact: Artifact) -> None:
    backend = OpenVinoBackend(artifact, "cpu", 2)

    def run(number: int) -> NDArray[np.float32]:
        return backend.run(IMAGES[number % 3 : number % 3 + 1], spread=number % 2 == 0)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, range(300)))
    for number, logits in enumerate(found):
        np.testing.assert_allclose(logits, LOGITS[number % 3 : number % 3 + 1], rtol=1e-5)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="OpenVINO has at most one thread per core")
def test_with_one_thread_the_graph_is_compiled_once(artifact: Artifact) -> None:
    one, two = (OpenVinoBackend(artifact, "cpu", threads) for threads in (1, 2))
    assert one._alone is one._spread
    properties = [two._spread.compiled.get_property(name) for name in ("NUM_STREAMS", "INFERENCE_NUM_THREADS")]
    assert [int(str(value)) for value in properties] == [1, 2]
    assert int(str(two._alone.compiled.get_property("NUM_STREAMS"))) == 2
    assert two._spread.compiled.get_property("ENABLE_CPU_PINNING") is False


def test_images_of_a_batch_run_on_all_threads_or_one_by_one(artifact: Artifact) -> None:
    backend = OpenVinoBackend(artifact, "cpu", 3)
    images = np.concatenate([IMAGES, IMAGES, IMAGES])
    for spread, requests in ((False, 1), (True, 9)):
        np.testing.assert_allclose(backend.run(images, spread=spread), np.tile(LOGITS, (3, 1)), rtol=1e-5)
        assert len(backend._alone._idle) == requests
    assert backend._spread._idle == []
    backend.run(images[:1])
    assert len(backend._spread._idle) == 1


def test_with_one_thread_an_image_runs_in_the_thread_of_the_caller(tmp_path: Path) -> None:
    """Another thread would have to wake up for each image, and take it from the cache of another core."""
    backend = OpenVinoBackend(read_artifact(put_chain(tmp_path, products=20)), "cpu", 1)
    image = np.zeros((1, 8, 6, 3), np.uint8)
    for spread in (True, False):
        start, own = time.process_time(), time.thread_time()
        for _ in range(100):
            backend.run(image, spread=spread)
        assert time.thread_time() - own > 0.8 * (time.process_time() - start)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (loop_of_three, "does not run logits here: a Loop cannot be interrupted"),
        (data_dependent_shape, r"does not run .* here: its shape, and so the memory of a run, depends on the image"),
    ],
    ids=["control flow", "data-dependent shapes"],
)
def test_a_graph_with_unbounded_time_or_memory_is_refused(artifact: Artifact, damage: Damage, reason: str) -> None:
    damage(artifact.path)
    expected = OnnxRuntimeBackend(read_artifact(artifact.path), "cpu", 1).run(IMAGES)  # ONNX Runtime runs it
    assert expected.shape == (3, 4)
    with pytest.raises(GraphError, match=reason):
        OpenVinoBackend(read_artifact(artifact.path), "cpu", 1)


def has_bf16() -> bool:
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_the_precision_is_read_back_and_affects_the_logits(artifact: Artifact) -> None:
    exact = OpenVinoBackend(artifact, "cpu", 1)
    assert exact.precision == "fp32"
    assert exact.operators["FullyConnected"] == {"f32": 1}
    if not has_bf16():
        with pytest.raises(BackendUnavailableError, match="this CPU has no bfloat16 instructions"):
            OpenVinoBackend(artifact, "cpu", 1, "bf16")
        return
    rounded = OpenVinoBackend(artifact, "cpu", 1, "bf16")
    assert rounded.precision == "bf16"
    assert rounded.operators["FullyConnected"] == {"bf16": 1}
    error = np.abs(rounded.run(IMAGES) - LOGITS).max()
    assert 1e-4 < error < 0.05  # bfloat16 has 8 bits: 2^-9 of a mean of about 128, times 0.03


def test_a_runtime_with_another_precision_than_requested_is_refused(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.backends.openvino._hint", lambda compiled: "bf16")  # noqa: ARG005
    with pytest.raises(BackendUnavailableError, match="OpenVINO computes in bf16, f32 was requested"):
        OpenVinoBackend(artifact, "cpu", 1)


@pytest.mark.parametrize(
    "images",
    [IMAGES.astype(np.float32), IMAGES[:, :4], IMAGES[0]],
    ids=["another dtype", "another size", "without a batch"],
)
def test_images_of_another_dtype_or_shape_are_an_error(artifact: Artifact, images: NDArray[np.uint8]) -> None:
    backend = OpenVinoBackend(artifact, "cpu", 1)
    with pytest.raises(GraphError, match=r"an image is .* the graph takes uint8 of shape"):
        backend.run(images)
    np.testing.assert_allclose(backend.run(IMAGES), LOGITS, rtol=1e-5)  # later runs succeed


def test_external_weights_are_copied_and_no_temporary_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "private"))
    add_artifact(tmp_path)
    externalise_weights(tmp_path / "colours/mean/1")
    backend = OpenVinoBackend(read_artifact(tmp_path / "colours/mean/1"), "cpu", 1)
    (tmp_path / "colours/mean/1/model.onnx.data").write_bytes(bytes(WEIGHTS.nbytes))
    np.testing.assert_allclose(backend.run(IMAGES), LOGITS, rtol=1e-5)
    assert list((tmp_path / "private").iterdir()) == []


def test_a_graph_in_memory_reads_no_file_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_artifact(tmp_path)
    path = tmp_path / "colours/mean/1"
    artifact = read_artifact(path)
    externalise_weights(path)
    (path / "model.onnx.data").rename(tmp_path / "model.onnx.data")
    monkeypatch.chdir(tmp_path)
    assert len(_core().read_model((path / "model.onnx").read_bytes()).inputs) == 1  # OpenVINO itself reads it
    with pytest.raises(GraphError, match="OpenVINO cannot read"):
        read_graph(_core(), artifact)


def test_no_run_succeeds_after_an_interrupt(artifact: Artifact) -> None:
    backend: Backend = OpenVinoBackend(artifact, "cpu", 2)
    backend.interrupt()
    for spread in (True, False):
        with pytest.raises(GraphError, match=r"cancel|interrupted"):
            backend.run(IMAGES, spread=spread)
    backend.close()
    backend.interrupt()  # a time limit may pass while a failed load closes its backend


def test_the_loader_loads_a_new_version_beside_the_served_one(tmp_path: Path) -> None:
    loader = Loader(Settings(repository=tmp_path, backend="openvino", threads=2))
    add_artifact(tmp_path)
    (location,) = scan(tmp_path)
    old = loader.open(location)
    assert loader.open(location, old) is old
    add_artifact(tmp_path, version=2, weights=-WEIGHTS)
    new = loader.open(scan(tmp_path)[1])
    np.testing.assert_allclose(new.backend.current().run(IMAGES), -LOGITS, rtol=1e-5)
    old.backend.restart(lambda fresh: fresh.run(IMAGES))
    np.testing.assert_allclose(old.backend.current().run(IMAGES), LOGITS, rtol=1e-5)
    old.backend.close()
    np.testing.assert_allclose(new.backend.current().run(IMAGES), -LOGITS, rtol=1e-5)
    new.backend.close()


def put_chain(repository: Path, products: int) -> Path:
    """Put a network of a chain of products with 1024×1024 matrices into an artifact, and return its path."""
    add_artifact(repository)
    path = repository / "colours/mean/1"
    square = constant("square", np.eye(1024), np.float32)
    widen = helper.make_node("MatMul", ["product", "wide"], ["x0"])
    steps = [helper.make_node("MatMul", [f"x{n}", "square"], [f"y{n}"]) for n in range(products)]
    signs = [helper.make_node("Sin", [f"y{n}"], [f"x{n + 1}"]) for n in range(products)]
    narrow = helper.make_node("MatMul", [f"x{products}", "narrow"], ["logits"])
    ends = (constant("wide", np.ones((4, 1024)), np.float32), constant("narrow", np.ones((1024, 4)), np.float32))
    chain = [node for pair in zip(steps, signs, strict=True) for node in pair]
    put_graph(path, *MEAN, widen, *chain, narrow, constants=(*CONSTANTS, square, *ends))
    return path


def test_a_running_inference_is_interrupted(tmp_path: Path) -> None:
    """The network would run for longer than the test's time limit."""
    path = put_chain(tmp_path, products=200)
    backend = OpenVinoBackend(read_artifact(path), "cpu", 1)
    images = np.zeros((2**15, 8, 6, 3), np.uint8)  # each takes 30 ms
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(backend.run, images)
        while not backend._spread._running:
            time.sleep(0.01)
        time.sleep(0.1)
        assert not run.done()
        backend.interrupt()
        with pytest.raises(GraphError, match=r"cancel|interrupted"):
            run.result(timeout=20)


def test_no_image_is_computed_after_an_interrupt(tmp_path: Path) -> None:
    backend = OpenVinoBackend(read_artifact(put_chain(tmp_path, products=200)), "cpu", 1)
    image = np.zeros((1, 8, 6, 3), np.uint8)
    start = time.thread_time()
    backend.run(image)
    taken = time.thread_time() - start
    backend.interrupt()
    start = time.thread_time()
    with pytest.raises(GraphError, match="interrupted"):
        backend.run(image)
    assert time.thread_time() - start < taken / 2
