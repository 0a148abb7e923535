"""Build context: only files that the images need."""

import re
import subprocess

import pytest

from tests.deploy.programs import ROOT

PATTERNS = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]


def is_sent(path: str) -> bool:
    """Return whether a file is in the build context: the last pattern that matches it or a parent applies."""
    sent = True
    parents = [path[: match.start()] for match in re.finditer("/", path)] + [path]
    for pattern in PATTERNS:
        expression = re.escape(pattern.lstrip("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(expression, parent) for parent in parents):
            sent = pattern.startswith("!")
    return sent


def test_only_the_tracked_files_of_the_images_are_sent() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    sent = [path for path in tracked if is_sent(path)]
    folders = {path.partition("/")[0] for path in sent if "/" in path}
    assert folders == {"artifact", "deploy", "engines", "examples", "export", "imaging", "models", "service"}
    assert {path for path in sent if "/" not in path} == {"LICENSE", "constraints.txt", "pyproject.toml"}
    assert [path for path in sent if path.startswith("deploy/")] == ["deploy/health.py"]
    for folder in ("artifact", "engines", "examples", "export", "imaging", "models", "service"):
        assert all(is_sent(path) for path in tracked if path.startswith(f"{folder}/")), folder


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".ci/run",
        ".env",
        "artifacts/digits/rope/1/manifest.json",
        "benchmarks/zoo.py",
        "tests/conftest.py",
        "service/__pycache__/app.pyc",
        "service/inputs/__pycache__/body.pyc",
        "examples/.cache",
        "posbake.egg-info/PKG-INFO",
        "certificate.key",
    ],
)
def test_other_files_of_a_work_tree_are_not_sent(path: str) -> None:
    assert not is_sent(path)
