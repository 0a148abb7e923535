"""Device failures while serving: the backend is restarted, and readiness states the reason until that succeeds.

The sessions are ONNX Runtime's on the CPU, and raise errors of its CUDA provider on demand.
"""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import onnxruntime
import pytest
from fastapi.testclient import TestClient
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from artifact import read_artifact
from service.app import create_app
from service.backends.cuda_host import driver_problem, open_cudart
from service.backends.fixed_batches import run_options
from service.backends.onnx_runtime import DEVICES, Device, OnnxRuntimeBackend
from service.backends.onnx_runtime_errors import device_failure, refuses_capture
from service.backends.warming import warm
from service.problems.errors import BackendUnavailableError, GraphError
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.backends.test_fixed_batches import IMAGES
from tests.service.pictures import encode

# Messages of ONNX Runtime 1.31, with invented host names.
LOST = ort_errors.RuntimeException(
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running MatMul node. "
    "Name:'/blocks.0/attn/MatMul' Status Message: CUDA failure 719: unspecified launch failure ; GPU=0 ; "
    "hostname=gpu-7 ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc ; line=129 ; "
    "expr=cudaStreamSynchronize(static_cast<cudaStream_t>(stream_));"
)
ILLEGAL = ort_errors.Fail(
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; "
    "hostname=gpu-7 ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/gpu_data_transfer.cc ; line=63 ; "
    "expr=cudaMemcpyAsync(dst_data, src_data, bytes, cudaMemcpyHostToDevice, stream);"
)
FULL = ort_errors.RuntimeException(
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Softmax node. "
    "Name:'/blocks.1/attn/Softmax' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
    "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, Stream*) Failed to allocate memory for requested buffer "
    "of size 157351936"
)
CUBLAS = RuntimeError(
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=gpu-7 ; file=/onnxruntime_src/x.cc ; line=168 ; "
    "expr=cublasCreate(&cublas_handle_);"
)
REFUSED = ort_errors.Fail(
    "[ONNXRuntimeError] : 1 : FAIL : This session cannot use the graph capture feature as requested by the user  as "
    "all compute graph nodes have not been partitioned to the CUDAExecutionProvider"
)
CAPTURING = ort_errors.Fail(
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 900: operation not permitted when stream is capturing ; GPU=0 ; "
    "hostname=gpu-7 ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc ; line=129 ; expr=cudaMalloc"
)
BAD_GRAPH = ort_errors.InvalidArgument("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input")


class FailingSession(onnxruntime.InferenceSession):  # type: ignore[misc]
    opening: ClassVar[list[Exception]] = []
    """Errors raised in order when sessions are created; the last one is repeated."""
    running: ClassVar[list[Exception]] = []
    opened: ClassVar[list[dict[str, Any]]] = []
    """Options of the first provider of each created session."""

    def __init__(self, *arguments: object, providers: list[tuple[str, dict[str, str]]], **named: object) -> None:
        name, options = providers[0]
        self.opened.append(dict(options))
        if self.opening:
            raise self.opening[0] if len(self.opening) == 1 else self.opening.pop(0)
        options.pop("enable_cuda_graph", None)  # the CPU provider takes no such option
        super().__init__(*arguments, providers=[(name, options)], **named)

    def run(self, *arguments: object) -> object:
        return self._run_or_raise(super().run, *arguments)

    def run_with_iobinding(self, *arguments: object) -> object:
        return self._run_or_raise(super().run_with_iobinding, *arguments)

    def _run_or_raise(self, run: Callable[..., object], *arguments: object) -> object:
        if self.running:
            raise self.running[0]
        return run(*arguments)


class ClearedWithoutGraphs(list[dict[str, Any]]):
    """List of options that clears the errors once a session is created without CUDA graphs."""

    def append(self, options: dict[str, Any]) -> None:
        super().append(options)
        if "enable_cuda_graph" not in options:
            FailingSession.opening.clear()
            FailingSession.running.clear()


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FailingSession]]:
    monkeypatch.setattr(onnxruntime, "InferenceSession", FailingSession)
    monkeypatch.setitem(DEVICES, "stand-in", Device({"CPUExecutionProvider": {}}, memory="cpu", graphs=True))
    for texts in (FailingSession.opening, FailingSession.running, FailingSession.opened):
        texts.clear()
    yield FailingSession
    FailingSession.opening.clear()
    FailingSession.running.clear()


def classify(client: TestClient) -> int:
    return client.post("/v1/classify", content=encode(IMAGES[0])).status_code


def wait_for_readiness(client: TestClient, text: str) -> str:
    """Wait until the readiness response contains `text`, and return it."""
    end = time.monotonic() + 10
    while text not in (found := client.get("/health/ready").text):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LOST, "CUDA failure 719: unspecified launch failure"),
        (ILLEGAL, "CUDA failure 700: an illegal memory access was encountered"),
        (FULL, "Failed to allocate memory for requested buffer of size 157351936"),
        (CUBLAS, "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"),
    ],
    ids=["Xid", "illegal access", "out of memory", "cuBLAS"],
)
def test_a_gpu_failure_is_distinguished_from_a_graph_error(
    tmp_path: Path, failing: type[FailingSession], error: Exception, reason: str
) -> None:
    add_artifact(tmp_path)
    artifact = read_artifact(tmp_path / "colours/mean/1")
    backend = OnnxRuntimeBackend(artifact, "stand-in", 1)
    warm(artifact, backend, 2)
    failing.running.append(error)
    with pytest.raises(BackendUnavailableError) as caught:
        backend.run(IMAGES[:2])
    assert str(caught.value).startswith(f"device stand-in failed: {reason}; look for Xid")
    failing.running[:] = [BAD_GRAPH]
    with pytest.raises(GraphError, match="Got invalid dimensions"):
        backend.run(IMAGES[:2])
    assert device_failure(BAD_GRAPH) is None
    on_cpu = OnnxRuntimeBackend(artifact, "cpu", 1)
    failing.running[:] = [FULL]
    with pytest.raises(GraphError, match="Failed to allocate memory"):  # there is no device
        on_cpu.run(IMAGES[:1])


def test_readiness_states_a_gpu_failure_until_the_backend_is_restarted(
    tmp_path: Path, failing: type[FailingSession]
) -> None:
    add_artifact(tmp_path)
    settings = Settings(repository=tmp_path, backend="onnxruntime", device="stand-in", threads=1)
    with TestClient(create_app(settings)) as client:
        assert classify(client) == 200
        failing.running.append(LOST)
        failing.opening.append(ILLEGAL)
        assert classify(client) == 503
        found = wait_for_readiness(client, "device stand-in failed: CUDA failure 719: unspecified launch failure")
        assert "colours/mean/1" in found
        found = wait_for_readiness(client, "device stand-in failed to come up: ")  # the first restart failed as well
        assert "CUDA failure 700: an illegal memory access was encountered" in found
        assert not any(private in found for private in ("gpu-7", "onnxruntime_src", str(tmp_path)))
        assert client.get("/health/live").status_code == 200
        failing.running.clear()
        failing.opening.clear()
        wait_for_readiness(client, '"status":"ready"')
        assert classify(client) == 200


def test_a_backend_that_ran_out_of_memory_is_restarted(tmp_path: Path, failing: type[FailingSession]) -> None:
    add_artifact(tmp_path)
    with TestClient(create_app(Settings(repository=tmp_path, backend="onnxruntime", device="stand-in"))) as client:
        failing.running.append(FULL)
        assert classify(client) == 503
        failing.running.clear()
        wait_for_readiness(client, '"status":"ready"')
        assert 'posbake_backend_restarts_total{model="colours",variant="mean",version="1"} 1.0' in (
            client.get("/metrics").text
        )


@pytest.mark.parametrize("where", ["opening", "running"])
def test_a_graph_that_cannot_be_captured_runs_without_cuda_graphs_with_a_warning(
    tmp_path: Path,
    failing: type[FailingSession],
    where: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_artifact(tmp_path)
    artifact = read_artifact(tmp_path / "colours/mean/1")
    caplog.set_level(logging.INFO)
    getattr(failing, where).append(REFUSED if where == "opening" else CAPTURING)
    monkeypatch.setattr(failing, "opened", ClearedWithoutGraphs())
    backend = OnnxRuntimeBackend(artifact, "stand-in", 1)
    warm(artifact, backend, 4)
    assert backend.run(IMAGES[:3]).shape == (3, 4)
    assert [options.get("enable_cuda_graph") for options in failing.opened] == ["1", None]
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert warning.startswith("colours/mean/1 runs without CUDA graphs, which is slower: ")
    assert "fixed buffers of" in caplog.text


def test_only_capture_errors_disable_cuda_graphs() -> None:
    assert refuses_capture(REFUSED)
    assert refuses_capture(CAPTURING)
    assert not any(map(refuses_capture, (LOST, ILLEGAL, FULL, CUBLAS, BAD_GRAPH)))


def test_cuda_runs_in_fp32_and_reports_it() -> None:
    cuda = DEVICES["cuda"]
    assert cuda.providers == {"CUDAExecutionProvider": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}}
    assert (cuda.memory, cuda.graphs, cuda.on_cores) == ("cuda", True, False)
    assert [cuda.precisions.get(written, written) for written in ("fp32", "fp16", "bf16", "int8")] == [
        *("fp32", "fp16", "bf16"),
        "int8+fp32",
    ]
    assert DEVICES["cpu"].on_cores
    assert not DEVICES["tensorrt"].on_cores


def test_runs_before_the_buffers_exist_are_not_captured(tmp_path: Path, failing: type[FailingSession]) -> None:
    add_artifact(tmp_path)
    backend = OnnxRuntimeBackend(read_artifact(tmp_path / "colours/mean/1"), "stand-in", 1)
    assert backend._options.get_run_config_entry("gpu_graph_id") == "-1"
    assert backend._options.get_run_config_entry("gpu_graph_id") == run_options(-1).get_run_config_entry("gpu_graph_id")
    assert failing.opened == [{"enable_cuda_graph": "1"}]


def test_a_missing_driver_library_is_reported() -> None:
    problem = driver_problem("libno_driver_of_that_name.so.1")
    assert problem is not None
    assert problem.startswith("NVIDIA's driver is not there (libno_driver_of_that_name.so.1: cannot open shared object")


def test_without_cudas_runtime_memory_is_not_locked_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert open_cudart("99") is None
    assert "memory is not page-locked" in caplog.text
    assert "libcudart.so.99" in caplog.text
