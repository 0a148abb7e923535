"""CONTRIBUTING.md's example of an encoding is complete: it builds, acts, exports and bakes to a constant."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from artifact import read_artifact
from export.to_onnx import main
from models.encodings import ENCODINGS, Encoding, Place
from models.encodings.registry import Registered
from tests.models.networks import VIT_CLS

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> type[Encoding]:
    """Return the class of the first Python block, registered as an encoding."""
    code = re.search(r"```python\n(.*?)```", CONTRIBUTING.read_text(), re.DOTALL)
    assert code is not None
    module: dict[str, object] = {}
    exec(compile(code[1], "CONTRIBUTING.md", "exec"), module)
    cls = module["Distance"]
    assert isinstance(cls, type)
    assert issubclass(cls, Encoding)
    monkeypatch.setitem(ENCODINGS, "distance", Registered(cls))
    return cls


@pytest.mark.usefixtures("example")
@pytest.mark.slow
def test_the_example_exports_to_a_constant_and_keeps_its_logits(tmp_path: Path) -> None:
    config = {
        "preprocess": {"resize": [32, 48], "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3},
        "network": VIT_CLS.model_dump() | {"encodings": {"distance": {}}},
    }
    file = tmp_path / "distance.json"
    file.write_text(json.dumps(config))
    assert main([f"posbake:{file}", "--random-weights", "0", "--output", str(tmp_path / "out"), "--quiet"]) == 0
    manifest = read_artifact(tmp_path / "out" / "distance" / "distance" / "1").manifest
    assert manifest.encoding == "distance"
    assert [(line.module, line.kind, line.shape) for line in manifest.baked] == [
        ("blocks.0.attention", "static", (3, 25, 25)),
        ("blocks.1.attention", "static", (3, 1, 25)),  # only the class token of the last block is read
    ]


def test_the_example_computes_the_documented_bias(example: type[Encoding]) -> None:
    encoding = example(Place((2, 3), 1, width=24, num_heads=3))
    with torch.no_grad():
        encoding.get_parameter("slope").copy_(torch.tensor([1.0, 2.0, 3.0]))
    bias = encoding.bias()
    assert bias is not None
    assert bias[:, 1, 6].tolist() == pytest.approx([slope * math.hypot(1, 2) for slope in (1, 2, 3)])
    assert not bool(bias[:, 0].any() or bias[:, :, 0].any())


def test_the_table_lists_all_methods_of_an_encoding() -> None:
    table = re.findall(r"^\| `(\w+)\(", CONTRIBUTING.read_text(), re.MULTILINE)
    overridable = [name for name in vars(Encoding) if not name.startswith("_") and callable(vars(Encoding)[name])]
    assert table == overridable == ["embedding", "rotation", "bias", "scores", "values"]
