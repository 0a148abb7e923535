"""A host with a GPU, TensorRT and cuda-python, none of which are there."""

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
    """TensorRT 10.16 and a GPU of compute capability 8.9, that compute on the CPU."""
    cuda = FakeCuda()
    trt = FakeTensorRt(cuda)
    install(monkeypatch, trt)
    yield trt
    forget()


def install(monkeypatch: pytest.MonkeyPatch, trt: FakeTensorRt) -> None:
    """Let both modules be imported under their own names."""
    monkeypatch.setitem(sys.modules, "tensorrt", cast(ModuleType, trt))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cast(ModuleType, trt.cuda))
    forget()


def forget() -> None:
    """Let the libraries be looked for again."""
    load_library.cache_clear()
    load_cuda.cache_clear()
