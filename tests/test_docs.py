"""Agreement of the documentation with the code."""

import re
from pathlib import Path

import pytest

from service.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples" / "digits" / "README.md",
    *(ROOT / "docs").glob("*.md"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_headings_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        headings = re.findall(r"^#+ (.*)$", (page.parent / target if target else page).read_text(), re.MULTILINE)
        assert anchor in {_anchor(heading) for heading in headings}, f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_of_this_repository_exist(page: Path) -> None:
    folders = "artifact|benchmarks|docs|engines|examples|export|imaging|models|service|tests"
    for path in re.findall(rf"`((?:{folders})/[\w./]*)`", page.read_text()):
        assert (ROOT / path).exists(), path


def _anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_folder_of_code_is_in_the_code_map() -> None:
    readme = (ROOT / "README.md").read_text()
    packages = {path.parent.relative_to(ROOT) for path in ROOT.glob("*/__init__.py")}
    packages |= {
        path.parent.relative_to(ROOT) for name in ("export", "service") for path in (ROOT / name).glob("*/__init__.py")
    }
    assert {Path("models"), Path("service/routers")} <= packages
    for package in packages:
        assert f"| `{package}/` |" in readme


def test_every_folder_of_the_code_map_exists() -> None:
    for folder in re.findall(r"^\| `([a-z/]+)/` \|", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_default_and_description(name: str) -> None:
    field = Settings.model_fields[name]
    made = {"threads": "the cores available", "max_held_bytes": "half of the memory"}
    default = made[name] if field.default_factory else "–" if field.default is None else f"`{field.default}`"
    row = f"| `POSBAKE_{name.upper()}` | `--{name.replace('_', '-')}` | {default} | {field.description} |"
    assert row in (ROOT / "docs" / "operations.md").read_text()


def test_constraints_pin_every_requirement() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    required = set(
        re.findall(r'^    "([a-z0-9-]+)(?:\[[a-z,]+\])?>=', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    )
    assert {"torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "fastapi", "pytest"} <= required
    assert required <= pinned
