"""Imports inside a package go to lower layers only and form no cycles; folders and files stay small.

A layer is a folder of the package, or one of its loose modules.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import conftest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("artifact", "engines", "export", "imaging", "models", "service")

EXPORT_LAYERS = (
    *("process", "request", "tracing", "passes", "auditing", "verify", "write", "precision", "engine"),
    *("report", "triton_repository", "pipeline", "to_onnx", "to_tensorrt", "to_triton", "audit", "check"),
)
SERVICE_LAYERS = (
    *("problems", "resources", "schemas", "settings", "telemetry", "auth", "backends", "inputs", "transport"),
    *("processes", "catalogue", "scheduling", "ranking", "serving", "inference", "comparing", "reloading"),
    *("protocol_v2", "routers", "lifespan", "web", "app", "offline", "access", "__main__"),
)
LAYERS = {"export": EXPORT_LAYERS, "service": SERVICE_LAYERS}
"""Layers from the lowest, which imports none of the others, to the highest."""

LOOSE = {"export": 8, "service": 10}
LONGEST = 300
"""Largest number of lines of a file."""

Graph = Mapping[str, set[str]]


def modules_of(root: Path, package: str) -> dict[str, set[str]]:
    """Return the modules of a package that each of its modules imports, also in functions and for types."""
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
    """Return the module that an imported name is or belongs to; empty for names of other packages."""
    return next((module for module in (name, name.rpartition(".")[0]) if module in files), "")


def layers_of(modules: Graph) -> dict[str, set[str]]:
    """Return the layers that each layer imports; the package's own `__init__` belongs to none."""
    layers: dict[str, set[str]] = {}
    for module, imports in modules.items():
        if "." in module:
            layer = module.split(".")[1]
            found = {other.split(".")[1] for other in imports if "." in other} - {layer}
            layers.setdefault(layer, set()).update(found)
    return layers


def cycles(graph: Graph) -> list[list[str]]:
    """Return the nodes of each cycle."""
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


def upward(layers: Graph, order: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the pairs of a layer and a higher one that it imports."""
    return sorted(
        (layer, other)
        for layer, imports in layers.items()
        for other in imports
        if order.index(other) > order.index(layer)
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other(package: str) -> None:
    assert cycles(modules_of(ROOT, package)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_layers_import_each_other(package: str) -> None:
    found = cycles(layers_of(modules_of(ROOT, package)))
    assert found == []


@pytest.mark.parametrize("package", LAYERS)
def test_nothing_is_imported_from_a_higher_layer(package: str) -> None:
    layers = layers_of(modules_of(ROOT, package))
    assert set(layers) == set(LAYERS[package])
    assert upward(layers, LAYERS[package]) == []


@pytest.mark.parametrize("package", LOOSE)
def test_the_number_of_loose_files_is_limited(package: str) -> None:
    assert len(list((ROOT / package).glob("*.py"))) <= LOOSE[package]


@pytest.mark.parametrize("package", [*PACKAGES, "benchmarks", "deploy", "examples", "tests"])
def test_no_file_exceeds_the_limit_of_lines(package: str) -> None:
    files = [file for file in (ROOT / package).rglob("*") if file.suffix in {".py", ".js", ".css"}]
    lines = {str(file): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {file: count for file, count in lines.items() if count > LONGEST} == {}


def test_the_long_files_exist() -> None:
    assert [name for name in conftest.LONG if not (conftest.TESTS / name).is_file()] == []


def test_the_walk_finds_cycles_and_imports_of_higher_layers(tmp_path: Path) -> None:
    sources = {
        "sample/__init__.py": "",
        "sample/low/__init__.py": "",
        "sample/low/one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sample.low import two\n",
        "sample/low/two.py": "import sample.low.one\ndef late():\n    from sample.high import Thing\n",
        "sample/high/__init__.py": "class Thing: ...\n",
        "sample/high/three.py": "from sample.low.two import late\nimport json\n",
        "sample/top.py": "from sample.high import three\n",
    }
    for path, source in sources.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(source)
    modules = modules_of(tmp_path, "sample")
    assert modules["sample.high.three"] == {"sample.low.two"}
    assert cycles(modules) == [["sample.low.one", "sample.low.two"]]
    layers = layers_of(modules)
    assert layers == {"low": {"high"}, "high": {"low"}, "top": {"high"}}
    assert cycles(layers) == [["high", "low"]]
    assert upward(layers, ("low", "high", "top")) == [("low", "high")]
