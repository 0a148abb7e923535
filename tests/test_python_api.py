"""The Python API: the code of `docs/python.md` runs and gives the results of the commands."""

import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from packaging.requirements import Requirement

from artifact import Manifest, read_artifact
from tests.test_architecture import ROOT, reached

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "python.md"
SEPARATE_EXTRAS = {"openvino", "peft", "triton_python_backend_utils"}  # imported on demand


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def compared(manifest: Manifest) -> dict[str, object]:
    """Return the fields of a manifest that two exports of a network share, without sample images of the digits."""
    found = manifest.model_dump(exclude={"created", "variant", "about", "preparation", "samples"})
    found["files"] = {name: file for name, file in found["files"].items() if not name.startswith("samples/")}
    return found


def test_the_code_of_the_page_runs_and_gives_the_results_of_the_commands(
    digits_repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks():
        exec(compile(block, str(PAGE), "exec"), names)
    assert "verify …" in capsys.readouterr().out
    expected = compared(read_artifact(digits_repository / "digits" / "learned" / "1").manifest)
    for variant in ("learned", "again"):
        assert compared(read_artifact(tmp_path / "artifacts" / "digits" / variant / "1").manifest) == expected
    with TestClient(names["app"]) as client:  # type: ignore[arg-type]
        (model,) = client.get("/v1/models").json()["models"]
    assert {variant["variant"] for variant in model["variants"]} == {"learned", "again"}


@pytest.mark.parametrize(
    ("package", "slow"), [("export", {"torch", "onnx", "onnxruntime"}), ("service", {"fastapi", "onnxruntime"})]
)
def test_importing_a_package_is_cheap_until_a_name_is_used(package: str, slow: set[str]) -> None:
    code = f"import sys, {package}; print([name for name in {sorted(slow)!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["export", "service"])
def test_listed_names_exist_and_other_names_are_refused(package: str) -> None:
    module = importlib.import_module(package)
    assert all(getattr(module, name) for name in module.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing


def test_the_export_extra_installs_what_export_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["export"]]
    provided = {Requirement(text).name.lower() for text in requirements}
    owners = packages_distributions()
    imported = set(reached("export")) - sys.stdlib_module_names - SEPARATE_EXTRAS
    missing = {name for name in imported if provided.isdisjoint(owner.lower() for owner in owners[name])}
    assert missing == {"artifact", "engines", "export", "imaging", "models"}  # posbake's own
