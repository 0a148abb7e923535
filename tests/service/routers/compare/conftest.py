"""Apps for comparisons: one with real networks, and one with the scripted backend."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.artifacts import WEIGHTS, add_artifact
from tests.service.routers.compare.comparisons import STEPS
from tests.service.scripted import ScriptedBackend, fresh


@pytest.fixture(scope="package")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Client of an app with six variants and four kinds of preprocessing; `turned` has the classes reversed."""
    path = tmp_path_factory.mktemp("artifacts")
    add_artifact(path, variant="float", dtype="float32")
    add_artifact(path, variant="large", size=(160, 120))
    add_artifact(path, variant="mean", version=1)
    add_artifact(path, variant="mean", version=2)
    add_artifact(path, variant="nan", logits="nan")
    add_artifact(path, variant="turned", weights=np.ascontiguousarray(WEIGHTS[:, ::-1]))
    add_artifact(path, variant="sharp", preprocess={**STEPS, "interpolation": "nearest"})
    with TestClient(create_app(Settings(repository=path, threads=2))) as client:
        yield client


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[type[ScriptedBackend]]:
    """Scripted backend with variants `corner`, which gets an image's first pixel, and `middle`, one of its center."""
    add_artifact(tmp_path, variant="corner", preprocess={**STEPS, "interpolation": "nearest"})
    cut = {**STEPS, "resize": (24, 18), "crop": (8, 6), "interpolation": "nearest"}
    add_artifact(tmp_path, variant="middle", preprocess=cut)
    with fresh() as backend:
        yield backend
