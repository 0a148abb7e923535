"""A fake host with a GPU, TensorRT and cuda-python."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import cast

import pytest

from engines.cuda import load_cuda
from engines.library import load_library
from tests.engines.fake_cuda import FakeCuda
from tests.engines.fake_tensorrt import FakeTensorRt


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRt]:
    """Install a fake TensorRT 10.16 and a fake GPU of compute capability 8.9, which compute on the CPU."""
    cuda = FakeCuda()
    trt = FakeTensorRt(cuda)
    install(monkeypatch, trt)
    yield trt
    forget()


def install(monkeypatch: pytest.MonkeyPatch, trt: FakeTensorRt) -> None:
    """Install both fakes in sys.modules under the names of the libraries."""
    monkeypatch.setitem(sys.modules, "tensorrt", cast(ModuleType, trt))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cast(ModuleType, trt.cuda))
    forget()


def forget() -> None:
    """Clear the caches of loaded libraries."""
    load_library.cache_clear()
    load_cuda.cache_clear()
