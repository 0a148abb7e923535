"""Requests are checked when they are created."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from artifact import read_artifact, scan
from export.request import ExportRequest
from export.to_onnx import main
from models.sources import Checkpoint, Overrides, RandomWeights
from tests.service.artifacts import add_artifact

REQUEST = ExportRequest("timm:vit_tiny_patch16_224", RandomWeights(0), Path("artifacts"))


def test_paths_may_be_text(tmp_path: Path) -> None:
    text: Any = "a/b"
    assert replace(REQUEST, output=text, labels=text).output == Path("a/b")
    assert Checkpoint(text).path == Path("a/b")
    add_artifact(tmp_path)
    (location,) = scan(str(tmp_path))
    assert read_artifact(str(location.path)).path == location.path


@pytest.mark.parametrize(
    "field",
    [
        *(
            {"precision": "float16"},
            {"target": "rtx"},
            {"takes": "float"},
            {"task": "single"},
            {"preparation": "paper"},
        ),
        *({"opset": 19}, {"opset": 24}, {"version": 0}, {"min_cosine": 1.1}, {"min_agreement": -0.1}),
        *({"batch": 8}, {"weights": "weights.safetensors"}, {"source": Path("network.py")}, {"about": "a" * 1001}),
        *({"output": 3}, {"samples": 3}, {"model": 7}, {"overrides": 224}),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_by_the_name_of_the_field(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        replace(REQUEST, **field)


@pytest.mark.parametrize("seed", ["a", 2**64, -(2**63) - 1])
def test_a_seed_is_within_torchs_range(seed: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValidationError, match="seed"):
        RandomWeights(seed=seed)


@pytest.mark.parametrize(
    "size", [{"image_size": 224}, {"image_size": (224, 0)}, {"window_size": 0}, {"num_classes": -1}], ids=str
)
def test_sizes_are_positive(size: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(size))):
        Overrides(**size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--random-weights", str(2**64)], "seed: Input should be less than 18446744073709551616"),
        (["--random-weights", "0", "--about", "a" * 1001], "about: String should have at most 1000 characters"),
    ],
)
def test_the_command_reports_a_wrong_value_in_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["timm:vit_tiny_patch16_224", *arguments, "--output", str(tmp_path / "repository")]) == 1
    assert capsys.readouterr().err == f"error: {message}\n"
    assert list(tmp_path.iterdir()) == []
