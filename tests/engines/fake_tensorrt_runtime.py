"""Fake of TensorRT's runtime: ONNX Runtime on buffers of a fake CUDA runtime.

As in TensorRT, a context must have run a shape before it is captured, and a graph is invalid once its context changes.
"""

import ctypes
import enum
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from tests.engines.fake_tensorrt import FakeTensorRt

MAGIC = b"fake engine\n"
_TYPES = {"tensor(float)": "FLOAT", "tensor(uint8)": "UINT8"}
_SIZES: dict[str, np.dtype[Any]] = {"FLOAT": np.dtype(np.float32), "UINT8": np.dtype(np.uint8)}
DataType = enum.Enum("DataType", ["FLOAT", "UINT8"])
TensorIOMode = enum.Enum("TensorIOMode", ["INPUT", "OUTPUT"])
LayerInformationFormat = enum.Enum("LayerInformationFormat", ["ONELINE"])
ExecutionContextAllocationStrategy = enum.Enum("ExecutionContextAllocationStrategy", ["USER_MANAGED"])


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class FakeRuntime:
    engine_host_code_allowed = False

    def __init__(self, trt: "FakeTensorRt", logger: Any) -> None:  # noqa: ANN401
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, plan: bytes) -> "FakeEngine | None":
        if not plan.startswith(MAGIC):
            self._logger.log(Severity.ERROR, "Error Code 4: the plan is corrupt")
            return None
        about, _, model = plan[len(MAGIC) :].partition(b"\n")
        return FakeEngine(self._trt, json.loads(about)["profile"], model, self._logger)


class FakeEngine:
    device_memory_size_v2 = 4096

    def __init__(self, trt: "FakeTensorRt", profile: Any, model: bytes, logger: Any) -> None:  # noqa: ANN401
        self.trt, self.profile, self.logger = trt, profile, logger
        self._model = model

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])

    @cached_property
    def _inputs(self) -> dict[str, Any]:
        return {node.name: node for node in self.session.get_inputs()}

    @cached_property
    def _tensors(self) -> dict[str, Any]:
        return {**self._inputs, **{node.name: node for node in self.session.get_outputs()}}

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return [str(known) for known in self._tensors][index]

    def get_tensor_mode(self, name: str) -> Any:  # noqa: ANN401
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:  # noqa: ANN401
        return DataType[_TYPES[self._tensors[name].type]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(side if isinstance(side, int) else -1 for side in self._tensors[name].shape)

    def create_engine_inspector(self) -> "FakeEngine":
        return self

    def get_engine_information(self, form: Any) -> str:  # noqa: ANN401
        assert form is LayerInformationFormat.ONELINE
        tensor = "{ Name: t, Dimensions: [4,2], Strides: [2,1], Datatype: %s, Format: (Linear) Row major }"
        return (
            f"Layers:\nName: _gemm_mha_v2_0, LayerType: kgen, Inputs: [ {tensor % 'Half'}], Constants: [ "
            f"{tensor % 'Half'}], Outputs: [ {tensor % 'Half'}], TacticName: _gemm_mha_v2_0x1, StreamId: 0\n"
            f"Name: head, LayerType: gemm, Inputs: [ {tensor % 'Half'}], Constants: [], Outputs: [ "
            f"{tensor % 'Float'}], TacticName: , StreamId: 0\n"
        )

    def create_execution_context(self, strategy: Any) -> "FakeContext":  # noqa: ANN401
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        return FakeContext(self)


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._state: dict[str, Any] = {}
        self._warm: set[tuple[int, ...]] = set()

    def set_device_memory(self, memory: int, size: int) -> None:
        assert self._engine.trt.cuda.live[memory] == "device memory"
        assert size >= self._engine.device_memory_size_v2
        self._state["memory"] = memory

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self._engine.profile[name]
        if not all(low <= side <= high for low, side, high in zip(smallest, shape, largest, strict=True)):
            self._engine.logger.log(Severity.ERROR, f"{name} of {list(shape)} is outside of the profile")
            return False
        self._state["shape"] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert self._engine.trt.cuda.live[address] == "device memory"
        self._state[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        cuda, state = self._engine.trt.cuda, dict(self._state)
        if cuda.is_capturing(stream) and state["shape"] not in self._warm:
            self._engine.logger.log(Severity.ERROR, "captured before it was warm")
            return False
        captured = cuda.is_capturing(stream)
        self._warm.add(state["shape"])

        def compute() -> None:
            assert not captured or state == self._state, "the context changed after its graph was captured"
            self._compute(state)

        return cuda.enqueue(stream, compute)[0] == 0

    def _compute(self, state: dict[str, Any]) -> None:
        session = self._engine.session
        (given,), (made,) = session.get_inputs(), session.get_outputs()
        dtype = _SIZES[_TYPES[given.type]]
        size = int(np.prod(state["shape"])) * dtype.itemsize
        images = np.frombuffer(ctypes.string_at(state[given.name], size), dtype).reshape(state["shape"])
        logits = session.run([made.name], {given.name: images})[0]
        ctypes.memmove(state[made.name], logits.tobytes(), logits.nbytes)
