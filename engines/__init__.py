"""TensorRT engines: libraries, building, inspection, and compatibility with hosts; exact int8 on older CPUs.

Used by `export/to_tensorrt.py` and by the service's backend `tensorrt`. The package depends on neither torch nor a web
framework, and imports TensorRT and the CUDA runtime lazily.
"""

from engines.build import Build, BuildOptions, build_engine
from engines.cuda import Cuda, load_cuda
from engines.errors import (
    BuildError,
    CudaError,
    EngineError,
    LibraryMissingError,
    OutOfDeviceMemoryError,
    ParserRefusalError,
    Refusal,
    UnfitEngineError,
)
from engines.identity import check_fits, current_gpu
from engines.inspecting import Layer, summarise
from engines.library import Library, find_library, load_library
from engines.reading import inspect_engine, read_engine

__all__ = [
    "Build",
    "BuildError",
    "BuildOptions",
    "Cuda",
    "CudaError",
    "EngineError",
    "Layer",
    "Library",
    "LibraryMissingError",
    "OutOfDeviceMemoryError",
    "ParserRefusalError",
    "Refusal",
    "UnfitEngineError",
    "build_engine",
    "check_fits",
    "current_gpu",
    "find_library",
    "inspect_engine",
    "load_cuda",
    "load_library",
    "read_engine",
    "summarise",
]
