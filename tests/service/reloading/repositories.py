"""Changes to repositories while they are served."""

import ctypes
import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.service.artifacts import WEIGHTS, add_artifact


def weights_of(version: int) -> NDArray[np.float32]:
    """Return weights whose logits identify the version."""
    return np.roll(WEIGHTS, version, axis=1) * np.float32(1 + version / 10)


def replace_artifact(repository: Path, variant: str = "mean", version: int = 1, content: int = 9) -> None:
    """Replace an artifact by one with other weights, and move the old one to `.before-<content>`."""
    add_artifact(repository / ".other", variant=variant, version=version, weights=weights_of(content))
    other = repository / ".other/colours" / variant / str(version)
    exchange(repository / "colours" / variant / str(version), other)
    other.rename(repository / f".before-{content}")
    shutil.rmtree(repository / ".other")


def exchange(one: Path, other: Path) -> None:
    """Exchange two paths atomically (Linux), so that both always exist."""
    at_cwd, rename_exchange = -100, 2  # from fcntl.h and linux/fs.h
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), rename_exchange):
        raise OSError(ctypes.get_errno(), f"cannot exchange {one} and {other}")


def damage(path: Path) -> bytes:
    """Change the last byte of an artifact's graph, and return the original bytes."""
    graph = path / "model.onnx"
    before = graph.read_bytes()
    graph.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    return before
