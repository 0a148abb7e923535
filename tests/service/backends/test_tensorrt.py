"""Backend for TensorRT engines, with fakes of CUDA and TensorRT that compute on the CPU."""

import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from artifact import Artifact, BuilderSettings, Engine, Profile, read_artifact
from engines import BuildOptions, build_engine, current_gpu, load_cuda, load_library
from service.backends import choose_ways
from service.backends.tensorrt import TensorRtBackend
from service.backends.warming import warm
from service.problems.errors import BackendUnavailableError, GraphError
from tests.engines.fake_tensorrt import FakeTensorRt
from tests.engines.fakes import fake_gpu as fake_gpu
from tests.service.artifacts import WEIGHTS, add_artifact

LOGGER = "service.backends.engine"


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 6, 3), np.uint8)


def expected(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    logits: NDArray[np.float64] = pixels.astype(np.float64).mean(axis=(1, 2)) @ WEIGHTS.astype(np.float64)
    return logits


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    add_artifact(tmp_path)
    return read_artifact(tmp_path / "colours/mean/1")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def backend(artifact: Artifact, cache: Path, fake_gpu: FakeTensorRt) -> Iterator[TensorRtBackend]:  # noqa: ARG001
    backend = TensorRtBackend(artifact, "cuda", 1, engine_cache=cache)
    yield backend
    backend.close()


def with_engine(repository: Path, trt: FakeTensorRt, **changes: object) -> Artifact:
    """Write an artifact with an engine built here, whose description in the manifest has `changes`."""
    add_artifact(repository, variant="portable")
    portable = read_artifact(repository / "colours/portable/1")
    library, gpu = load_library("tensorrt"), current_gpu(load_cuda())
    options = BuildOptions(Profile(min=1, opt=2, max=7), BuilderSettings())
    build = build_engine(library, portable.graph, options, gpu)
    trt.builds.clear()
    engine = Engine.model_validate(build.engine.model_dump() | changes)
    add_artifact(repository, variant="built", target="tensorrt", engine=engine, files={engine.file: build.plan})
    return read_artifact(repository / "colours/built/1")


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
@pytest.mark.parametrize("prepared", [True, False])
def test_every_batch_size_gets_its_own_logits(backend: TensorRtBackend, batch: int, prepared: bool) -> None:
    if prepared:
        backend.prepare(7)
    for seed in range(3):
        given = images(batch, seed)
        np.testing.assert_allclose(backend.run(given), expected(given), rtol=1e-5)


def test_warmed_batch_sizes_use_cuda_graphs_and_others_do_not(backend: TensorRtBackend, fake_gpu: FakeTensorRt) -> None:
    backend.prepare(6)
    launched = fake_gpu.cuda.launched
    for size, graphs in ((1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4)):
        backend.run(images(size))
        assert len(launched) == graphs, size


def test_the_gpu_computes_after_the_copy_and_copies_after_it_has_computed(
    backend: TensorRtBackend, fake_gpu: FakeTensorRt
) -> None:
    backend.prepare(2)
    for eager in (set[int](), {min(fake_gpu.cuda.streams)}):  # the compute stream
        fake_gpu.cuda.eager = eager
        for seed, size in enumerate((1, 2, 1, 2)):
            given = images(size, seed)
            np.testing.assert_allclose(backend.run(given), expected(given), rtol=1e-5)


def test_two_threads_run_concurrently_in_their_own_buffers(backend: TensorRtBackend) -> None:
    backend.prepare(4)

    def check(seed: int) -> None:
        given = images(1 + seed % 4, seed)
        np.testing.assert_allclose(backend.run(given), expected(given), rtol=1e-5)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, range(60)))


def test_all_gpu_memory_is_freed_after_close(backend: TensorRtBackend, fake_gpu: FakeTensorRt) -> None:
    backend.prepare(4)
    backend.run(images(3))
    backend.close()
    assert fake_gpu.cuda.live == {}
    with pytest.raises(GraphError, match="interrupted"):
        backend.run(images(1))


def test_the_engine_of_a_portable_artifact_is_built_once_and_then_cached(
    artifact: Artifact, cache: Path, fake_gpu: FakeTensorRt, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        TensorRtBackend(artifact, "cuda", 1, engine_cache=cache).close()
        TensorRtBackend(artifact, "cuda", 1, engine_cache=cache).close()
    assert len(fake_gpu.builds) == 1
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == "building the engine of colours/mean/1 by TensorRT 10.16.1 on Fake GPU, batch 1:8:64"
    assert "was built in" in messages[1]
    assert messages[2] == "the engine of colours/mean/1 is in the engine cache"


def test_another_gpu_library_version_or_graph_needs_a_new_build(
    tmp_path: Path, artifact: Artifact, cache: Path, fake_gpu: FakeTensorRt
) -> None:
    def builds() -> int:
        load_library.cache_clear()
        TensorRtBackend(artifact, "cuda", 1, engine_cache=cache).close()
        return len(fake_gpu.builds)

    assert builds() == 1
    fake_gpu.cuda.name = "Another GPU"
    assert builds() == 2
    fake_gpu.__version__ = "10.17.0"
    assert builds() == 3
    add_artifact(tmp_path, variant="mean", version=2, weights=2 * WEIGHTS)
    artifact = read_artifact(tmp_path / "colours/mean/2")
    assert builds() == 4
    assert builds() == 4


def test_a_damaged_cache_entry_is_rebuilt(
    artifact: Artifact, cache: Path, fake_gpu: FakeTensorRt, caplog: pytest.LogCaptureFixture
) -> None:
    TensorRtBackend(artifact, "cuda", 1, engine_cache=cache).close()
    (entry,) = cache.iterdir()
    whole = entry.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + b"x", b"", b"{}\n" + whole, whole.replace(b"10.16.1", b"10.16.2", 1)):
        entry.write_bytes(damaged)
        fake_gpu.builds.clear()
        backend = TensorRtBackend(artifact, "cuda", 1, engine_cache=cache)
        assert len(fake_gpu.builds) == (damaged != whole.replace(b"10.16.1", b"10.16.2", 1))
        np.testing.assert_allclose(backend.run(images(2)), expected(images(2)), rtol=1e-5)
        backend.close()
    assert sum("is damaged; the engine is built again" in record.getMessage() for record in caplog.records) == 4


def test_an_engine_in_the_artifact_runs_without_a_build(tmp_path: Path, cache: Path, fake_gpu: FakeTensorRt) -> None:
    backend = TensorRtBackend(with_engine(tmp_path, fake_gpu), "cuda", 1, engine_cache=cache)
    np.testing.assert_allclose(backend.run(images(7)), expected(images(7)), rtol=1e-5)
    assert fake_gpu.builds == []
    assert not cache.exists()
    assert backend.name == "tensorrt-cuda"
    assert backend.operators == {"fused attention": {"fp16": 1}, "gemm": {"fp32": 1}}
    with pytest.raises(GraphError, match="batches of up to 7, 8 were requested; lower --max-batch"):
        backend.prepare(8)
    with pytest.raises(GraphError, match="batches of 1 to 7, this has 8"):
        backend.run(images(8))
    backend.close()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": "10.15.0"}, "for TensorRT 10.15.0, this is TensorRT 10.16.1"),
        ({"version": "10.17.0", "settings": {"version_compatible": True}}, "for TensorRT 10.17.0, this is"),
        ({"gpu": {"name": "Old GPU", "compute_capability": "8.0"}}, r"built on Old GPU \(compute capability 8.0\)"),
        ({"gpu": None, "targets": ("8.6", "12.0")}, "for compute capability 8.6, 12.0, Fake GPU has 8.9"),
    ],
)
def test_an_engine_for_another_host_is_refused_with_the_remedy(
    tmp_path: Path, cache: Path, fake_gpu: FakeTensorRt, changes: dict[str, object], reason: str
) -> None:
    artifact = with_engine(tmp_path, fake_gpu, **changes)
    with pytest.raises(GraphError, match=reason) as caught:
        TensorRtBackend(artifact, "cuda", 1, engine_cache=cache)
    assert "build it here with python export/to_tensorrt.py" in str(caught.value)


def test_a_tensorrt_rtx_engine_requires_tensorrt_rtx(
    tmp_path: Path, cache: Path, fake_gpu: FakeTensorRt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.library.importlib.util.find_spec", lambda _name: None)
    artifact = with_engine(tmp_path, fake_gpu, flavour="rtx", library="TensorRT-RTX")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    with pytest.raises(BackendUnavailableError, match="TensorRT-RTX is not available"):
        TensorRtBackend(artifact, "cuda", 1, engine_cache=cache)


def test_a_version_compatible_engine_runs_on_a_later_version(
    tmp_path: Path, cache: Path, fake_gpu: FakeTensorRt
) -> None:
    changes = {"version": "10.9.0", "settings": BuilderSettings(version_compatible=True)}
    TensorRtBackend(with_engine(tmp_path, fake_gpu, **changes), "cuda", 1, engine_cache=cache).close()


def test_an_engine_replaced_after_verification_is_refused(tmp_path: Path, cache: Path, fake_gpu: FakeTensorRt) -> None:
    artifact = with_engine(tmp_path, fake_gpu)
    (artifact.path / "model.engine").write_bytes(b"another")
    with pytest.raises(GraphError, match=r"model\.engine is not the file the manifest describes"):
        TensorRtBackend(artifact, "cuda", 1, engine_cache=cache)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("Error Code 10: no implementation for node head", "no implementation for node head; examine the named node"),
        ("Error Code 2: OutOfMemory", "OutOfMemory; free GPU memory"),
    ],
)
def test_a_failed_build_is_refused_with_the_reason(
    artifact: Artifact, cache: Path, fake_gpu: FakeTensorRt, failure: str, reason: str
) -> None:
    fake_gpu.failure = failure
    with pytest.raises(GraphError, match=reason):
        TensorRtBackend(artifact, "cuda", 1, engine_cache=cache)
    assert list(cache.iterdir()) == []


def test_an_operator_refused_by_the_parser_is_named(artifact: Artifact, cache: Path, fake_gpu: FakeTensorRt) -> None:
    fake_gpu.refused = {"MatMul"}
    with pytest.raises(GraphError, match=r"the parser of TensorRT 10.16.1 rejects the graph: MatMul.*not supported"):
        TensorRtBackend(artifact, "cuda", 1, engine_cache=cache)


def test_insufficient_gpu_memory_is_an_error_and_all_memory_is_freed(
    backend: TensorRtBackend, fake_gpu: FakeTensorRt
) -> None:
    fake_gpu.cuda.memory = 8192
    with pytest.raises(BackendUnavailableError, match="cudaMalloc: cudaErrorMemoryAllocation; lower --max-batch"):
        backend.prepare(64)
    assert fake_gpu.cuda.live == {}
    backend.prepare(2)
    np.testing.assert_allclose(backend.run(images(2)), expected(images(2)), rtol=1e-5)


def test_a_lost_gpu_is_reported_as_a_device_failure(backend: TensorRtBackend, fake_gpu: FakeTensorRt) -> None:
    backend.prepare(2)
    fake_gpu.cuda.lost = True
    for size in (1, 2):
        with pytest.raises(BackendUnavailableError, match=r"the GPU failed: .*cudaErrorLaunchFailure"):
            backend.run(images(size))
    fake_gpu.cuda.lost = False
    np.testing.assert_allclose(backend.run(images(2)), expected(images(2)), rtol=1e-5)


def test_an_image_of_another_size_fails_alone(backend: TensorRtBackend) -> None:
    with pytest.raises(GraphError, match=r"of shape \(1, 8, 7, 3\), the engine takes uint8 of shape \[B, 8, 6, 3\]"):
        backend.run(np.zeros((1, 8, 7, 3), np.uint8))
    np.testing.assert_allclose(backend.run(images(1)), expected(images(1)), rtol=1e-5)


def test_a_cache_writable_by_other_users_is_refused(artifact: Artifact, cache: Path, fake_gpu: FakeTensorRt) -> None:  # noqa: ARG001
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(BackendUnavailableError, match="others may write to it, and engines are executable code"):
        TensorRtBackend(artifact, "cuda", 1, engine_cache=cache)
    cache.rmdir()
    cache.write_text("a file")
    with pytest.raises(BackendUnavailableError, match="cannot be used: File exists; name another directory"):
        TensorRtBackend(artifact, "cuda", 1, engine_cache=cache)


def test_warm_up_runs_without_a_golden_file(backend: TensorRtBackend, artifact: Artifact) -> None:
    assert warm(artifact, backend, 4).golden is None
    assert backend.precision == "fp32"


def test_tensorrt_is_selected_by_name_only_and_uses_the_configured_cache(
    artifact: Artifact, cache: Path, fake_gpu: FakeTensorRt
) -> None:
    (way,) = choose_ways("tensorrt", "auto", "fp32", cache).of(artifact.manifest)
    assert (way.name, way.device) == ("tensorrt", "cuda")
    backend = way.open(artifact, 1)
    assert list(cache.iterdir())
    backend.close()
    assert choose_ways("auto", "auto", "fp32").of(artifact.manifest)[0].name != "tensorrt"
    with pytest.raises(BackendUnavailableError, match="device 'cpu' is not TensorRT's; known: auto, cuda"):
        choose_ways("tensorrt", "cpu", "fp32")
    fake_gpu.cuda.devices = 0
    with pytest.raises(BackendUnavailableError, match="backend tensorrt is not available: cudaGetDeviceCount"):
        choose_ways("tensorrt", "auto", "fp32")
