"""Allowed imports: the service and the artifact contract import neither torch nor the exporter."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.service.artifacts import add_artifact
from tests.service.pictures import encode, random_pixels

ROOT = Path(__file__).resolve().parents[1]
FIRST_PARTY = {"artifact", "engines", "imaging", "service", "models", "export", "examples", "benchmarks", "tests"}
EXPORTING = {"torch", "torchvision", "timm", "onnx", "onnx_ir", "onnxscript", "models", "export", "examples", "tests"}
SERVING = {
    *("fastapi", "starlette", "httptools", "uvicorn", "uvloop", "pydantic", "pydantic_core", "pydantic_settings"),
    *("numpy", "PIL", "onnxruntime", "prometheus_client", "rich"),
}
OPTIONAL = {"opentelemetry", "openvino", "pyarrow", "ray"}  # imported on demand only


def imports(source: str) -> Iterator[str]:
    """Yield the dotted name of everything imported anywhere in a module, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def imports_of(file: Path) -> tuple[str, ...]:
    """Return what a file imports; parsing all files takes 2 s."""
    return tuple(imports(file.read_text(encoding="utf-8")))


def packages_importing(library: str) -> set[str]:
    """Return the packages of this repository of which a file imports a library."""
    files = [file for package in sorted(ROOT.glob("*/__init__.py")) for file in package.parent.rglob("*.py")]
    return {
        file.relative_to(ROOT).parts[0]
        for file in files
        if library in file.read_text(encoding="utf-8")  # parsing the others would take most of the time
        if any(name.partition(".")[0] == library for name in imports_of(file))
    }


def reached(package: str) -> dict[str, Path]:
    """Return the top-level packages that a package imports, each with a file that imports it.

    Imports of first-party packages are followed file by file.
    """
    found: dict[str, Path] = {}
    waiting = sorted((ROOT / package).rglob("*.py"))
    assert waiting
    seen: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in imports_of(file):
            top = name.partition(".")[0]
            found.setdefault(top, file)
            if top in FIRST_PARTY:
                waiting.extend(files_of(name))
    return found


def files_of(name: str) -> list[Path]:
    """Return the files that run when a first-party module is imported: its own and those of its parent packages."""
    parts = name.split(".")
    paths = [ROOT.joinpath(*parts[: count + 1]) for count in range(len(parts))]
    return [file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]


@pytest.mark.parametrize("package", ["service", "engines", "imaging", "artifact"])
def test_neither_torch_nor_the_exporter_is_imported(package: str) -> None:
    wrong = {name: str(file) for name, file in reached(package).items() if name in EXPORTING}
    assert wrong == {}


def test_the_contract_needs_the_standard_library_and_pydantic_only() -> None:
    assert set(reached("artifact")) - sys.stdlib_module_names == {"artifact", "pydantic"}


@pytest.mark.slow
def test_the_service_needs_nothing_but_its_own_extra() -> None:
    ours = {"service", "engines", "imaging", "artifact"}
    assert set(reached("service")) - sys.stdlib_module_names == {*ours, *SERVING, *OPTIONAL}


def test_engines_need_pydantic_beside_the_contract_and_import_tensorrt_on_demand() -> None:
    assert set(reached("engines")) - sys.stdlib_module_names == {"engines", "artifact", "pydantic"}


def test_imaging_needs_pillow_numpy_and_the_resizer_beside_the_contract() -> None:
    needed = {"imaging", "artifact", "pydantic", "numpy", "PIL", "cykooz_resizer"}
    assert set(reached("imaging")) - sys.stdlib_module_names == needed


@pytest.mark.parametrize(
    ("package", "above"),
    [
        ("models", {"engines", "export", "imaging", "service"}),
        ("export", {"service"}),
        ("engines", {"imaging", "export", "models", "service"}),
        ("imaging", {"engines", "export", "models", "service"}),
        ("artifact", {"engines", "imaging", "export", "models", "service"}),
    ],
)
def test_dependencies_run_one_way(package: str, above: set[str]) -> None:
    assert above.isdisjoint(reached(package))


def installed_by(extra: str) -> set[str]:
    """Return every distribution that `pip install posbake[extra]` installs, by the installed metadata."""
    found: set[str] = set()
    waiting = [("posbake", frozenset({extra}))]
    while waiting:
        name, extras = waiting.pop()
        for text in requires(name) or []:
            requirement = Requirement(text)
            wanted = any(requirement.marker is None or requirement.marker.evaluate({"extra": e}) for e in extras | {""})
            if wanted and requirement.name.lower() not in found:
                found.add(requirement.name.lower())
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return found


def test_the_service_extra_alone_does_not_install_torch() -> None:
    assert {"fastapi", "onnxruntime", "numpy"} <= installed_by("service")
    assert {"torch", "timm", "onnx", "onnxscript"}.isdisjoint(installed_by("service"))
    assert "torch" in installed_by("export")  # the walk is able to find torch


def test_the_walk_finds_imports_in_every_form() -> None:
    source = (
        "import a.b, c as d\nfrom e import f\ndef g():\n    if 1:\n        from h.i import j\n        import torch\n"
    )
    assert set(imports(source)) == {"a.b", "c", "e", "e.f", "h.i", "h.i.j", "torch"}
    assert "onnx" in reached("export")  # the walk is able to find forbidden packages


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
from fastapi.testclient import TestClient
from service.app import create_app
from service.settings import Settings

try:
    import torch
except ImportError as error:
    assert str(error) == "torch is blocked"
else:
    raise AssertionError("torch is not blocked")

with TestClient(create_app(Settings(repository={repository!r}))) as client:
    answer = client.post("/v1/classify", content=open({picture!r}, "rb").read())
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 4
"""


@pytest.mark.slow
def test_the_service_serves_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(encode(random_pixels()))
    add_artifact(tmp_path / "artifacts")
    script = BLOCKED.format(blocked=EXPORTING, repository=str(tmp_path / "artifacts"), picture=str(picture))
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
