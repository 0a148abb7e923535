"""What happens to repositories while they are served."""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.service.artifacts import WEIGHTS, add_artifact


def weights_of(version: int) -> NDArray[np.float32]:
    """Return weights whose answers tell the version."""
    return np.roll(WEIGHTS, version, axis=1) * np.float32(1 + version / 10)


def replace_artifact(repository: Path, variant: str = "mean", version: int = 1, content: int = 9) -> None:
    """Put another artifact of the same name where one is, as an operator would: by renaming."""
    add_artifact(repository / ".other", variant=variant, version=version, weights=weights_of(content))
    path = repository / "colours" / variant / str(version)
    path.rename(repository / f".before-{content}")
    (repository / ".other/colours" / variant / str(version)).rename(path)
    shutil.rmtree(repository / ".other")


def damage(path: Path) -> bytes:
    """Change the last byte of an artifact's graph, and return what the graph was."""
    graph = path / "model.onnx"
    before = graph.read_bytes()
    graph.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    return before
