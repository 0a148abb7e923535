"""ONNX Runtime's telemetry is disabled before any command loads it, unless the user set the variable."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_architecture import ROOT, packages_importing

pytestmark = pytest.mark.slow

VARIABLE = "ORT_DISABLE_TELEMETRY"

# Module `sitecustomize`, which Python imports when it starts; it records the variable and ends the process when ONNX
# Runtime is about to be loaded.
WATCH = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            with open(os.environ["SEEN"], "w") as file:
                file.write(os.environ.get({VARIABLE!r}, "unset"))
            os._exit(0)
sys.meta_path.insert(0, Watch())
"""

STARTS = {
    "the service": ["-m", "service", "--repository", "{empty}"],
    "uvicorn": ["-m", "uvicorn", "--factory", "service.app:create_app"],
    "an export": ["export/to_onnx.py", "none:none", "--random-weights", "0", "--output", "{empty}"],
    "a benchmark": ["-m", "benchmarks.plain_model"],
    "the digits' table": ["-m", "examples.digits.table"],
}


def seen(start: list[str], directory: Path, **variables: str) -> str:
    """Return the variable's value at the moment when a process is about to load ONNX Runtime."""
    (directory / "sitecustomize.py").write_text(WATCH)
    (directory / "empty" / "a" / "b" / "1").mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(directory), str(ROOT)]),
        "SEEN": str(directory / "seen"),
        "POSBAKE_REPOSITORY": str(directory / "empty"),
        **variables,
    }
    command = [sys.executable, *(part.format(empty=directory / "empty") for part in start)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False)
    assert (directory / "seen").is_file(), done.stderr.decode()
    return (directory / "seen").read_text()


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_telemetry_is_disabled_before_onnx_runtime_is_loaded(start: list[str], tmp_path: Path) -> None:
    assert seen(start, tmp_path) == "1"


def test_a_value_that_the_user_set_is_kept(tmp_path: Path) -> None:
    assert seen(STARTS["the service"], tmp_path, **{VARIABLE: "0"}) == "0"


def test_images_disable_telemetry_for_all_their_commands() -> None:
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    bases = {stage.split()[2]: stage.split()[0] for stage in stages if stage.split()[1] == "AS"}
    (runtime,) = (stage for stage in stages if f"{VARIABLE}=1" in stage)
    name = runtime.split()[2]
    for image in ("cpu", "cuda", "tensorrt", "export"):
        base = image
        while base != name:
            base = bases[base]  # KeyError: the image has another base


def test_every_package_that_loads_onnx_runtime_disables_its_telemetry_on_import() -> None:
    loading = packages_importing("onnxruntime")
    assert {"service", "export", "benchmarks", "examples", "tests"} <= loading
    for package in loading:
        assert f'os.environ.setdefault("{VARIABLE}", "1")' in (ROOT / package / "__init__.py").read_text()
