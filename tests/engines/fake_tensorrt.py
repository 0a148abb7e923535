"""Fake of the part of TensorRT's Python interface that posbake uses, on ONNX Runtime and a fake CUDA runtime.

An engine is the ONNX file itself.
"""

import enum
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from tests.engines import fake_tensorrt_runtime as runtime
from tests.engines.fake_cuda import FakeCuda
from tests.engines.fake_tensorrt_runtime import MAGIC, FakeRuntime, Severity


class _Base:
    """A base class for subclasses in Python, as in pybind11."""

    def __init__(self) -> None:
        pass


class FakeTensorRt:
    """A fake of the module `tensorrt`.

    Attributes:
        refused: operators that the parser refuses.
        failure: error of every build; None if builds succeed.
        builds: bytes of the ONNX files that were built.
        configs: builder configurations of all builds.
        before_build: called when a build begins.
    """

    ILogger = IProgressMonitor = _Base
    NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1})
    BuilderFlag = enum.Enum("BuilderFlag", ["TF32", "VERSION_COMPATIBLE"])
    ProfilingVerbosity = enum.Enum("ProfilingVerbosity", ["DETAILED"])
    MemoryPoolType = enum.Enum("MemoryPoolType", ["WORKSPACE"])
    TensorIOMode = runtime.TensorIOMode
    LayerInformationFormat = runtime.LayerInformationFormat
    ExecutionContextAllocationStrategy = runtime.ExecutionContextAllocationStrategy

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

    def Runtime(self, logger: Any) -> FakeRuntime:  # noqa: ANN401, N802
        return FakeRuntime(self, logger)


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
        model = onnx.load(Path(path))  # with external data
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
        return MAGIC + json.dumps(about).encode() + b"\n" + model
