"""TensorRT's Python interface, as far as it is used here, over ONNX Runtime and a fake CUDA runtime.

An engine is the ONNX file itself; it runs at the addresses of the bound buffers, when its stream gets there. As
TensorRT's, a context must have run a shape before it is captured, and a graph is of no use once its context changed.
"""

import ctypes
import enum
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.engines.fake_cuda import FakeCuda

_MAGIC = b"fake engine\n"
_TYPES = {"tensor(float)": "FLOAT", "tensor(uint8)": "UINT8"}
_SIZES: dict[str, np.dtype[Any]] = {"FLOAT": np.dtype(np.float32), "UINT8": np.dtype(np.uint8)}
DataType = enum.Enum("DataType", ["FLOAT", "UINT8"])


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class _Base:
    """A base class that Python code inherits from, as pybind11's."""

    def __init__(self) -> None:
        pass


class FakeTensorRt:
    """The module.

    Attributes:
        refused: operators that the parser refuses.
        failure: error that each build ends with; None builds.
        builds: ONNX files that were built, by their bytes.
        configs: of all builds.
        before_build: called when a build begins.
    """

    ILogger = IProgressMonitor = _Base
    NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1})
    BuilderFlag = enum.Enum("BuilderFlag", ["TF32", "VERSION_COMPATIBLE"])
    ProfilingVerbosity = enum.Enum("ProfilingVerbosity", ["DETAILED"])
    MemoryPoolType = enum.Enum("MemoryPoolType", ["WORKSPACE"])
    TensorIOMode = enum.Enum("TensorIOMode", ["INPUT", "OUTPUT"])
    LayerInformationFormat = enum.Enum("LayerInformationFormat", ["ONELINE"])
    ExecutionContextAllocationStrategy = enum.Enum("ExecutionContextAllocationStrategy", ["USER_MANAGED"])

    def __init__(self, cuda: FakeCuda, version: str = "10.16.1") -> None:
        self.cuda = cuda
        self.__version__ = version
        self.refused: set[str] = set()
        self.failure: str | None = None
        self.builds: list[bytes] = []
        self.configs: list[_Config] = []
        self.before_build: Callable[[], object] = lambda: None

    def Builder(self, logger: Any) -> "_Builder":  # noqa: ANN401, N802
        return _Builder(self, logger)

    def OnnxParser(self, network: "_Network", logger: Any) -> "_Parser":  # noqa: ANN401, N802
        return _Parser(self, network, logger)

    def Runtime(self, logger: Any) -> "_Runtime":  # noqa: ANN401, N802
        return _Runtime(self, logger)


@dataclass
class _Tensor:
    name: str
    shape: tuple[int, ...]


class _Network:
    def __init__(self) -> None:
        self.model = onnx.ModelProto()
        self.inputs: list[_Tensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_layers(self) -> int:
        return len(self.model.graph.node)

    def get_input(self, index: int) -> _Tensor:
        return self.inputs[index]


@dataclass
class _Error:
    at: onnx.NodeProto

    def node_name(self) -> str:
        return str(self.at.name)

    def node_operator(self) -> str:
        return str(self.at.op_type)

    def desc(self) -> str:
        return "Assertion failed: it is not supported"


class _Parser:
    def __init__(self, trt: FakeTensorRt, network: _Network, logger: Any) -> None:  # noqa: ANN401
        self._trt, self._network, self._logger = trt, network, logger
        self._errors: list[_Error] = []

    def parse_from_file(self, path: str) -> bool:
        model = onnx.load(Path(path))  # with its data files
        self._errors = [_Error(node) for node in model.graph.node if node.op_type in self._trt.refused]
        self._network.model = model
        self._network.inputs = [
            _Tensor(tensor.name, tuple(side.dim_value or -1 for side in tensor.type.tensor_type.shape.dim))
            for tensor in model.graph.input
        ]
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> _Error:
        return self._errors[index]


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, smallest: Sequence[int], best: Sequence[int], largest: Sequence[int]) -> None:
        self.shapes[name] = [list(smallest), list(best), list(largest)]


class _Config:
    def __init__(self) -> None:
        self.profile = _Profile()
        self.flags = {FakeTensorRt.BuilderFlag.TF32}
        self.limits: dict[Any, int] = {}
        self.progress_monitor: Any = None
        self.profiling_verbosity: Any = None
        self.builder_optimization_level = 3
        self.timing_cache: bytes | None = None

    def add_optimization_profile(self, profile: _Profile) -> None:
        self.profile = profile

    def set_flag(self, flag: Any) -> None:  # noqa: ANN401
        self.flags.add(flag)

    def clear_flag(self, flag: Any) -> None:  # noqa: ANN401
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:  # noqa: ANN401
        self.limits[pool] = size

    def create_timing_cache(self, content: bytes) -> bytes | None:
        return None if content and not content.startswith(b"cache") else content or b"cache"

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.timing_cache = cache
        return True

    def get_timing_cache(self) -> "_Memory":
        assert self.timing_cache is not None
        return _Memory(self.timing_cache + b" of one more build")


@dataclass
class _Memory:
    content: bytes

    def serialize(self) -> bytes:
        return self.content


class _Builder:
    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:  # noqa: ANN401
        self._trt, self.logger = trt, logger

    def create_network(self, flags: int) -> _Network:
        assert flags == 1 << FakeTensorRt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        self._trt.configs.append(config)
        self._trt.before_build()
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, 3)
        for step in range(3):
            if not monitor.step_complete("Building engine", step):
                return None
        monitor.phase_finish("Building engine")
        if self._trt.failure is not None:
            self.logger.log(Severity.ERROR, self._trt.failure)
            return None
        model = bytes(network.model.SerializeToString())
        self._trt.builds.append(model)
        about = {"version": self._trt.__version__, "profile": config.profile.shapes}
        return _MAGIC + json.dumps(about).encode() + b"\n" + model


class _Runtime:
    engine_host_code_allowed = False

    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:  # noqa: ANN401
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, plan: bytes) -> "_Engine | None":
        if not plan.startswith(_MAGIC):
            self._logger.log(Severity.ERROR, "Error Code 4: the plan is corrupt")
            return None
        about, _, model = plan[len(_MAGIC) :].partition(b"\n")
        return _Engine(self._trt, json.loads(about)["profile"], model, self._logger)


class _Engine:
    device_memory_size_v2 = 4096

    def __init__(self, trt: FakeTensorRt, profile: Any, model: bytes, logger: Any) -> None:  # noqa: ANN401
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
        return FakeTensorRt.TensorIOMode.INPUT if name in self._inputs else FakeTensorRt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:  # noqa: ANN401
        return DataType[_TYPES[self._tensors[name].type]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(side if isinstance(side, int) else -1 for side in self._tensors[name].shape)

    def create_engine_inspector(self) -> "_Engine":
        return self

    def get_engine_information(self, form: Any) -> str:  # noqa: ANN401
        assert form is FakeTensorRt.LayerInformationFormat.ONELINE
        tensor = "{ Name: t, Dimensions: [4,2], Strides: [2,1], Datatype: %s, Format: (Linear) Row major }"
        return (
            f"Layers:\nName: _gemm_mha_v2_0, LayerType: kgen, Inputs: [ {tensor % 'Half'}], Constants: [ "
            f"{tensor % 'Half'}], Outputs: [ {tensor % 'Half'}], TacticName: _gemm_mha_v2_0x1, StreamId: 0\n"
            f"Name: head, LayerType: gemm, Inputs: [ {tensor % 'Half'}], Constants: [], Outputs: [ "
            f"{tensor % 'Float'}], TacticName: , StreamId: 0\n"
        )

    def create_execution_context(self, strategy: Any) -> "_Context":  # noqa: ANN401
        assert strategy is FakeTensorRt.ExecutionContextAllocationStrategy.USER_MANAGED
        return _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
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
