"""A repository of artifacts for each test."""

import shutil
from pathlib import Path

import pytest

from tests.service.artifacts import add_artifact


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifacts")
    for version in (1, 2, 10):
        add_artifact(path, variant="mean", version=version)
    add_artifact(path, variant="float", dtype="float32")
    return path


@pytest.fixture
def artifacts(made: Path, tmp_path: Path) -> Path:
    """`colours`: mean in versions 1, 2 and 10, and float; a copy that a test may change."""
    return shutil.copytree(made, tmp_path / "artifacts")
