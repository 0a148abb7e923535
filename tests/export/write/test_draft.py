"""Facts in the draft of a manifest."""

from importlib.metadata import PackageNotFoundError

import onnxruntime
import pytest

from export.write import draft


def test_the_version_of_onnx_runtime_is_known_whichever_package_installed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def version_of(package: str) -> str:
        if package == "onnxruntime":  # as where onnxruntime-gpu is installed
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(draft, "version_of", version_of)
    tools = draft._tools("timm:vit_tiny_patch16_224")
    assert tools["onnxruntime"] == onnxruntime.__version__
    assert tools["timm"] == tools["torch"] == "1.0"
