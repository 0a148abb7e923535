"""OpenVINO's telemetry is never loaded: its Python package would report that it was imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.artifacts import add_artifact
from tests.test_architecture import ROOT, imports

pytestmark = pytest.mark.slow

# Python imports this module when it starts. It writes down that the telemetry was looked for.
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
    """Return which of OpenVINO's packages were looked for, by the command and its child processes."""
    (directory / "sitecustomize.py").write_text(WATCH)
    environment = {
        **os.environ,
        "CI": "true",  # what is imported here sends nothing
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


def test_every_package_that_loads_openvino_keeps_its_telemetry_out_when_it_is_imported() -> None:
    files = [file for package in sorted(ROOT.glob("*/__init__.py")) for file in package.parent.rglob("*.py")]
    loading = {
        file.relative_to(ROOT).parts[0]
        for file in files
        if any(name.partition(".")[0] == "openvino" for name in imports(file.read_text(encoding="utf-8")))
    }
    assert {"service", "export", "benchmarks"} <= loading
    for package in loading:
        assert 'sys.modules.setdefault("openvino_telemetry", None)' in (ROOT / package / "__init__.py").read_text()
