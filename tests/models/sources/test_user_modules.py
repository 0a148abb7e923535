"""Imports of a user's file: the user's modules, also from packages named like posbake's, which are restored."""

import copy
import importlib
import inspect
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import models
import models.build
from export import to_onnx
from models.sources import Loaded, Overrides, Pretrained, SourceError, load_source
from models.sources.user_modules import OURS, ROOT, UserModules, names_taken
from tests.models.sources.libraries import logits_of

BUILD = """
import pathlib
from dataclasses import dataclass
from models.layers import Head
from .layers import Head as Same
from export import SCALE

assert Head is Same

@dataclass
class Options:
    classes: int = 5

def for_export():
    preparation = dict(resize=(16, 16), interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
    return Head(Options().classes), preparation
"""
LAYERS = """
import torch
from torch import nn

class Head(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 3 * classes).reshape(3, classes))

    def forward(self, images):
        from models.late import scale
        import service
        from lately import shift
        assert not hasattr(service, "app")
        return scale(images.mean((2, 3)) @ self.weight) + shift()
"""
FILES = {
    "models/__init__.py": "",
    "models/build.py": BUILD,
    "models/layers.py": LAYERS,
    "models/late.py": "from export import SCALE\ndef scale(x): return x * SCALE\n",
    "export.py": "SCALE = 3\n",
    "service/anything.py": "",  # a package without __init__.py
    "more/lately.py": "def shift(): return 7\n",
    "net.py": "import sys\nsys.path.append('more')\nfrom models.build import for_export\n",
    "artifact/picture.txt": "",  # no package, so that `artifact` is posbake's
    "preprocessed.py": "from net import for_export\nfrom artifact import Preprocess\n"
    "def build():\n    net, how = for_export()\n    return net, Preprocess.model_validate(how)\n",
    "nets/beside.py": "WIDTH = 5\n",
    "nets/user.py": "import beside\nfrom .beside import WIDTH\nfrom net import for_export\n",
}


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run in a user's repository; remove its modules from sys.modules afterwards."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    before = dict(sys.modules)
    yield tmp_path
    assert {name: sys.modules[name] for name in sys.modules if name.partition(".")[0] in OURS and name in before} == {
        name: module for name, module in before.items() if name.partition(".")[0] in OURS
    }
    assert str(tmp_path) not in sys.path
    sys.path[:] = [entry for entry in sys.path if entry != "more"]
    for name in set(sys.modules) - set(before):
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def load(name: str) -> Loaded:
    return load_source(f"python:{name}", Pretrained(), Overrides())


def expected(images: torch.Tensor) -> torch.Tensor:
    return 3 * (images.mean((2, 3)) @ torch.linspace(-1, 1, 15).reshape(3, 5)) + 7


@pytest.mark.parametrize("name", ["net.py:for_export", "preprocessed.py:build", "nets/user.py:for_export"])
def test_the_users_packages_are_found_at_import_in_the_function_and_in_forward(name: str) -> None:
    loaded = load(name)
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(logits_of(loaded.network, images), expected(images))
    torch.testing.assert_close(logits_of(copy.deepcopy(loaded.network), images), expected(images))
    assert type(loaded.network).__module__ == "models.layers"
    assert sys.modules["models"] is models
    assert "models.layers" not in sys.modules
    from models.build import build_network

    assert build_network is models.build.build_network


def test_a_file_in_a_package_is_a_module_of_it(repository: Path) -> None:
    (repository / "more/__init__.py").touch()
    (repository / "more/lately.py").unlink()
    (repository / "lately.py").write_text("def shift(): return 7\n")
    images = torch.rand(1, 3, 16, 16)
    for name in ("models/build.py", str(repository / "models/build.py")):
        loaded = load(f"{name}:for_export")
        torch.testing.assert_close(logits_of(loaded.network, images), expected(images))
        assert loaded.name == "python:build.py:for_export"


def test_posbakes_modules_are_restored_after_a_failed_forward(repository: Path) -> None:
    (repository / "models/late.py").write_text("def scale(x): raise LookupError('no scale')\n")
    with pytest.raises(SourceError, match="LookupError: no scale"):
        load("net.py:for_export")
    assert sys.modules["models"] is models


def test_two_files_of_the_same_name_are_two_modules(repository: Path) -> None:
    (repository / "nets/net.py").write_text(
        "from models.build import for_export as build\nfrom net import for_export\n"
    )
    assert load("net.py:for_export").num_classes == 5
    with pytest.raises(SourceError, match=r"has no function build; it has no functions"):
        load("net.py:build")
    assert load("nets/net.py:build").num_classes == 5


def test_a_package_name_of_posbake_is_refused_with_the_file_form() -> None:
    with pytest.raises(SourceError, match=r"models is also a package of posbake.* python:models/build\.py:for_export$"):
        load("models.build:for_export")
    with pytest.raises(SourceError, match=r"imports your export or models or service: .*python:net\.py:for_export$"):
        load("net:for_export")


def test_packages_missing_from_the_users_directories_are_posbakes(repository: Path) -> None:
    assert names_taken([repository]) == ["export", "models", "service"]
    assert names_taken([ROOT, repository / "nets"]) == []
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
    assert sorted(declared) == list(OURS)


def test_contexts_can_be_nested(repository: Path) -> None:
    modules = UserModules([repository], ["export"])
    with modules:
        import export

        assert vars(export)["SCALE"] == 3
        with modules:
            assert sys.modules["export"] is export
        assert sys.modules["export"] is export
    with modules:
        assert sys.modules["export"] is export


def test_source_files_are_found_in_folders_named_like_packages_of_posbake(repository: Path) -> None:
    import service
    import service.app

    inspect.getmodule(compile("", "nowhere.py", "exec"))  # inspect caches the file of every loaded module
    assert service.__file__ is not None
    (repository / "service/app").mkdir()
    (repository / "service/app/anything.py").touch()
    with UserModules([repository], ["service"]):
        theirs = importlib.import_module("service.app.anything")
        assert inspect.getsourcefile(theirs) == str(repository / "service/app/anything.py")
        assert not hasattr(sys.modules["service"], "__file__")
        inspect.getmodule(compile("", "elsewhere.py", "exec"))
    assert sys.modules["service"] is service


@pytest.mark.slow
def test_users_modules_are_imported_while_an_export_is_traced(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["python:net.py:for_export", "--pretrained", "--output", "out", "--json"]
    assert to_onnx.main(arguments) == 0
    manifest = json.loads(capsys.readouterr().out)["manifest"]
    assert manifest["notes"] == ["the function returned the network in train mode; it was put into eval mode"]
    assert manifest["parity"]["max_rel_error"] < 1e-5


def test_folders_of_posbakes_packages_are_not_searched(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "bake").mkdir()
    (repository / "bake/own.py").touch()
    (repository / "net.py").write_text(FILES["net.py"] + "import bake.own\n")
    monkeypatch.setattr(sys, "path", [str(ROOT / "export"), *sys.path])  # as in `python export/to_onnx.py`
    assert load("net.py:for_export").num_classes == 5
