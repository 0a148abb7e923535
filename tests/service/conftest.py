"""One repository and one running app, for tests that do not change them."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.artifacts import WEIGHTS, add_artifact
from tests.service.pictures import encode, random_pixels
from tests.service.scripted import ScriptedBackend, fresh

CONSTANT = io.BytesIO()
np.save(CONSTANT, np.arange(8, dtype="<f2").reshape(2, 2, 2))
SHOWN_FILES = {"baked/table.npy": CONSTANT.getvalue(), "samples/red.png": encode(random_pixels())}
SHOWN: dict[str, Any] = {
    "constants": {"lines": [{"name": "table", "role": "table", "shape": (2, 2, 2), "windows": 1, "readers": 1}]},
    "samples": ("red.png",),
    "about": "Patches of one colour.",
}


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model `colours` with variants mean (versions 1, 2, 10), float and nan; versions 2 and 10 reverse the classes."""
    path = tmp_path_factory.mktemp("artifacts")
    add_artifact(path, variant="mean", version=1, top1=0.99)
    add_artifact(path, variant="mean", version=2, top1=0.8, weights=-WEIGHTS)
    reversed_ = np.ascontiguousarray(WEIGHTS[:, ::-1])
    add_artifact(path, variant="mean", version=10, top1=0.9, weights=reversed_, files=SHOWN_FILES, **SHOWN)
    add_artifact(path, variant="float", top1=0.5, dtype="float32")
    add_artifact(path, variant="nan", logits="nan")
    return path


@pytest.fixture(scope="session")
def backend_name(pytestconfig: pytest.Config) -> str:
    """Name of the backend in responses, for tests that select none."""
    name = pytestconfig.getoption("--backend")
    return f"{'openvino' if name == 'auto' else name}-cpu"


@pytest.fixture(scope="session")
def client(repository: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(repository=repository, threads=2, max_body_bytes=1_000_000))) as client:
        yield client


@pytest.fixture
def scripted() -> Iterator[type[ScriptedBackend]]:
    """Scripted backend with empty records, whose gate is opened at the end."""
    with fresh() as backend:
        yield backend
