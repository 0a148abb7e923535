"""Repository of artifacts that each test exports to Triton."""

import shutil
from pathlib import Path

import pytest

from tests.service.artifacts import add_artifact


@pytest.fixture(scope="module")
def shared_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifacts")
    for version in (1, 2, 10):
        add_artifact(path, variant="mean", version=version)
    add_artifact(path, variant="float", dtype="float32")
    return path


@pytest.fixture
def artifacts(shared_artifacts: Path, tmp_path: Path) -> Path:
    """Return a writable repository of `colours`: `mean` in versions 1, 2 and 10, and `float`."""
    return shutil.copytree(shared_artifacts, tmp_path / "artifacts")
