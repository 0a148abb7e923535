"""TensorRT libraries, as Python modules with a common interface: TensorRT (10 and 11) and TensorRT-RTX.

TensorRT-RTX has two distributions. NVIDIA's own has the module `tensorrt_rtx`. On PyPI the shared libraries are part of
ONNX Runtime's plugin and must be loaded before the module `tensorrt_rtx_bindings` is imported.
"""

import ctypes
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from artifact import Flavour
from engines.errors import LibraryMissingError

_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
_SHARED = ("libtensorrt_rtx.so*", "libtensorrt_onnxparser_rtx.so*")
"""Shared libraries in loading order: the second depends on the first."""


@dataclass(frozen=True)
class Library:
    """TensorRT library.

    Attributes:
        flavour: tensorrt or rtx.
        name: product name.
        version: version, such as 10.16.1.11.
        module: Python module with TensorRT's interface.
    """

    flavour: Flavour
    name: Literal["TensorRT", "TensorRT-RTX"]
    version: str
    module: Any

    def __str__(self) -> str:
        """Return name and version."""
        return f"{self.name} {self.version}"

    @property
    def major(self) -> int:
        """The first number of the version."""
        return int(self.version.partition(".")[0])


@dataclass(frozen=True)
class _Flavour:
    name: Literal["TensorRT", "TensorRT-RTX"]
    load: Callable[[], Any]
    oldest: int
    install: str


def _tensorrt() -> Any:  # noqa: ANN401 -- a module without types
    return importlib.import_module("tensorrt")


def _tensorrt_rtx() -> Any:  # noqa: ANN401 -- a module without types
    if importlib.util.find_spec("tensorrt_rtx") is not None:
        return importlib.import_module("tensorrt_rtx")
    plugin = importlib.util.find_spec(_PLUGIN)
    for folder in plugin.submodule_search_locations or () if plugin is not None else ():
        for pattern in _SHARED:
            for file in sorted(Path(folder).glob(pattern))[:1]:
                ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
    return importlib.import_module("tensorrt_rtx_bindings")


_FLAVOURS: dict[Flavour, _Flavour] = {
    "tensorrt": _Flavour("TensorRT", _tensorrt, 10, "pip install tensorrt"),
    "rtx": _Flavour(
        "TensorRT-RTX",
        _tensorrt_rtx,
        1,
        "pip install --no-deps tensorrt_rtx_cu13_bindings onnxruntime-ep-nv-tensorrt-rtx-cu13",
    ),
}


@cache
def load_library(flavour: Flavour) -> Library:
    """Return the library of a flavour.

    Raises:
        LibraryMissingError: the library is not installed, cannot be loaded, or is too old.
    """
    about = _FLAVOURS[flavour]
    try:
        module = about.load()
    except (ImportError, OSError) as error:
        raise LibraryMissingError(f"{about.name} is not available: {error}; install it with {about.install}") from error
    library = Library(flavour, about.name, str(module.__version__), module)
    if library.major < about.oldest:
        raise LibraryMissingError(
            f"{library} is too old, {about.oldest} or later is required; install it with {about.install}"
        )
    return library


def find_library() -> Library:
    """Return TensorRT if available, otherwise TensorRT-RTX.

    Raises:
        LibraryMissingError: neither is available.
    """
    reasons = []
    for flavour in _FLAVOURS:
        try:
            return load_library(flavour)
        except LibraryMissingError as error:
            reasons.append(str(error))
    raise LibraryMissingError("; ".join(reasons))
