"""OpenVINO's telemetry, which reports imports of its Python package, is never loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.artifacts import add_artifact
from tests.test_architecture import ROOT, packages_importing

pytestmark = pytest.mark.slow

# Module `sitecustomize`, which Python imports when it starts; it records searches for OpenVINO's packages.
WATCH = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("openvino_telemetry", "openvino"):
            with open(os.environ["SEEN"], "a") as file:
                file.write(name + "\\n")
sys.meta_path.insert(0, Watch())
"""

SERVE = """
from fastapi.testclient import TestClient
from service.app import create_app
from service.settings import Settings

with TestClient(create_app(Settings(repository={repository!r}, backend="openvino", threads=1))) as client:
    assert client.get("/health/ready").status_code == 200
"""


def seen(command: list[str], directory: Path) -> set[str]:
    """Return the OpenVINO packages for which a command and its child processes searched."""
    (directory / "sitecustomize.py").write_text(WATCH)
    environment = {
        **os.environ,
        "CI": "true",  # prevents this test from sending data
        "PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)]),
        "SEEN": str(directory / "seen"),
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=directory, env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return {line.partition(".")[0] for line in (directory / "seen").read_text().splitlines()}


@pytest.mark.parametrize("start", ["service", "check", "openvino alone"])
def test_telemetry_is_not_loaded(start: str, tmp_path: Path) -> None:
    add_artifact(tmp_path / "repository")
    commands = {
        "service": ["-c", SERVE.format(repository=str(tmp_path / "repository"))],
        "check": ["-c", "import export.verify.golden_check, openvino"],
        "openvino alone": ["-c", "import openvino"],  # shows that the test is able to fail
    }
    expected = {"openvino", "openvino_telemetry"} if start == "openvino alone" else {"openvino"}
    assert seen(commands[start], tmp_path) == expected


def test_every_package_that_loads_openvino_blocks_its_telemetry_on_import() -> None:
    loading = packages_importing("openvino")
    assert {"service", "export", "benchmarks"} <= loading
    for package in loading:
        assert 'sys.modules.setdefault("openvino_telemetry", None)' in (ROOT / package / "__init__.py").read_text()
