"""Baked constants and sample images: served from the artifact, and verified by hash at each request."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import SHOWN, SHOWN_FILES

MEAN = "/v1/models/colours/variants/mean"


@pytest.mark.parametrize(
    ("path", "file", "media_type"),
    [
        ("baked/table", "baked/table.npy", "application/octet-stream"),
        ("samples/red.png", "samples/red.png", "image/png"),
    ],
)
def test_a_file_is_served_unchanged_and_304_if_not_modified(
    client: TestClient, path: str, file: str, media_type: str
) -> None:
    for query in ("", "?version=10"):
        answer = client.get(f"{MEAN}/{path}{query}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, media_type)
        assert answer.content == SHOWN_FILES[file]
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    again = client.get(f"{MEAN}/{path}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_constant_is_a_numpy_file(client: TestClient) -> None:
    found = np.load(io.BytesIO(client.get(f"{MEAN}/baked/table").content))
    assert found.dtype == np.float16
    assert found.tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_the_details_of_a_version_list_its_files(client: TestClient) -> None:
    first, *_, newest = client.get(MEAN).json()["versions"]
    assert (first["constants"], first["samples"], first["about"]) == (None, [], None)
    assert newest["about"] == SHOWN["about"]
    assert newest["samples"] == ["red.png"]
    assert newest["constants"]["lines"][0]["name"] == "table"


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("baked/nothing", "known: table"),
        ("baked/table?version=1", "known: none"),
        ("baked/..%2fmodel.onnx", ""),
        ("samples/labels.txt", "known: red.png"),
        ("samples/red.png?version=3", "known: 1, 2, 10"),
    ],
)
def test_a_name_that_is_not_in_the_manifest_is_404(client: TestClient, path: str, known: str) -> None:
    answer = client.get(f"{MEAN}/{path}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert known in answer.json()["detail"]


def test_a_file_changed_since_the_load_is_an_error(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository, tmp_path / "changed")
    with TestClient(create_app(Settings(repository=tmp_path / "changed", threads=1, reload_seconds=0))) as client:
        assert client.get(f"{MEAN}/samples/red.png").status_code == 200
        version = tmp_path / "changed" / "colours" / "mean" / "10"
        (version / "samples" / "red.png").write_bytes(b"another")
        (version / "baked" / "table.npy").unlink()
        (version / "baked" / "table.npy").symlink_to("/etc/hostname")
        for path in ("samples/red.png", "baked/table"):
            answer = client.get(f"{MEAN}/{path}")
            assert (answer.status_code, answer.json()["title"]) == (500, "Artifact changed")
            assert "load it again" in answer.json()["detail"]
