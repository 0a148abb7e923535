"""Imports inside a package run down its floors, never up, and never in a circle; folders and files stay small.

A floor is a folder of the package, or one of its loose modules.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import conftest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("artifact", "engines", "export", "imaging", "models", "service")

EXPORT_FLOORS = (
    *("process", "request", "tracing", "passes", "auditing", "verify", "write", "precision", "engine"),
    *("report", "triton_repository", "pipeline", "to_onnx", "to_tensorrt", "to_triton", "audit", "check"),
)
SERVICE_FLOORS = (
    *("problems", "resources", "schemas", "settings", "telemetry", "auth", "backends", "inputs", "transport"),
    *("processes", "catalogue", "scheduling", "ranking", "serving", "inference", "comparing", "reloading"),
    *("protocol_v2", "routers", "lifespan", "web", "app", "offline", "access", "__main__"),
)
FLOORS = {"export": EXPORT_FLOORS, "service": SERVICE_FLOORS}
"""From the lowest, which imports none of the others, to the highest."""

LOOSE = {"export": 8, "service": 10}
LONGEST = 300
"""Lines of a file."""

Graph = Mapping[str, set[str]]


def modules_of(root: Path, package: str) -> dict[str, set[str]]:
    """Return which modules of a package each of its modules imports, anywhere in the file, and for types alone too."""
    files = {name_of(root, file): file for file in (root / package).rglob("*.py")}
    assert files
    return {
        module: {module_in(files, name) for name in imported(file)} - {module, ""} for module, file in files.items()
    }


def name_of(root: Path, file: Path) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_in(files: Mapping[str, Path], name: str) -> str:
    """Return the module that an imported name is, or that defines it; empty if that is of another package."""
    return next((module for module in (name, name.rpartition(".")[0]) if module in files), "")


def floors_of(modules: Graph) -> dict[str, set[str]]:
    """Return which floors each floor imports; the package's own `__init__` belongs to none."""
    floors: dict[str, set[str]] = {}
    for module, imports in modules.items():
        if "." in module:
            floor = module.split(".")[1]
            found = {other.split(".")[1] for other in imports if "." in other} - {floor}
            floors.setdefault(floor, set()).update(found)
    return floors


def circles(graph: Graph) -> list[list[str]]:
    """Return the nodes of each circle: those that reach one another."""
    reached = {node: reachable(graph, node) for node in graph}
    groups = {frozenset(other for other in reached[node] if node in reached[other]) for node in graph}
    return sorted(sorted(group) for group in groups if group)


def reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(graph[node])
    return found


def upward(floors: Graph, order: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the pairs of a floor and one above it that it imports."""
    return sorted(
        (floor, other)
        for floor, imports in floors.items()
        for other in imports
        if order.index(other) > order.index(floor)
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other(package: str) -> None:
    assert circles(modules_of(ROOT, package)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_floors_import_each_other(package: str) -> None:
    found = circles(floors_of(modules_of(ROOT, package)))
    assert found == []


@pytest.mark.parametrize("package", FLOORS)
def test_nothing_is_imported_from_a_higher_floor(package: str) -> None:
    floors = floors_of(modules_of(ROOT, package))
    assert set(floors) == set(FLOORS[package])
    assert upward(floors, FLOORS[package]) == []


@pytest.mark.parametrize("package", LOOSE)
def test_there_are_few_loose_files(package: str) -> None:
    assert len(list((ROOT / package).glob("*.py"))) <= LOOSE[package]


@pytest.mark.parametrize("package", [*PACKAGES, "benchmarks", "deploy", "examples", "tests"])
def test_no_file_is_long(package: str) -> None:
    files = [file for file in (ROOT / package).rglob("*") if file.suffix in {".py", ".js", ".css"}]
    lines = {str(file): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {file: count for file, count in lines.items() if count > LONGEST} == {}


def test_the_longest_files_exist() -> None:
    assert [name for name in conftest.LONGEST if not (conftest.TESTS / name).is_file()] == []


def test_the_walk_finds_circles_and_imports_of_higher_floors(tmp_path: Path) -> None:
    sources = {
        "house/__init__.py": "",
        "house/low/__init__.py": "",
        "house/low/one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.low import two\n",
        "house/low/two.py": "import house.low.one\ndef late():\n    from house.high import Thing\n",
        "house/high/__init__.py": "class Thing: ...\n",
        "house/high/three.py": "from house.low.two import late\nimport json\n",
        "house/top.py": "from house.high import three\n",
    }
    for path, source in sources.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(source)
    modules = modules_of(tmp_path, "house")
    assert modules["house.high.three"] == {"house.low.two"}
    assert circles(modules) == [["house.low.one", "house.low.two"]]
    floors = floors_of(modules)
    assert floors == {"low": {"high"}, "high": {"low"}, "top": {"high"}}
    assert circles(floors) == [["high", "low"]]
    assert upward(floors, ("low", "high", "top")) == [("low", "high")]
