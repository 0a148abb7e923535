"""Precision in manifests: required fields, refused combinations, and older manifests."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from artifact import read_artifact
from tests.artifact.drafts import draft, write

COSINE = {"mean": 0.9999, "min": 0.999, "limit": 0.99}
CALIBRATION = {"directory": "train", "images": 512}


def parity(**changes: object) -> dict[str, Any]:
    return draft().parity.model_dump(exclude_none=True) | changes


def test_a_manifest_from_before_other_precisions_is_read(tmp_path: Path) -> None:
    path, manifest = write(tmp_path)
    text = (path / "manifest.json").read_text()
    assert not any(word in text for word in ("cosine", "calibration", "runs", "float32_nodes"))
    assert read_artifact(path).manifest == manifest


def test_an_int8_manifest_records_its_calibration(tmp_path: Path) -> None:
    full = parity(cosine=COSINE, calibration=CALIBRATION, float32_error=1e-7, runs=("native",), agreement_limit=0.97)
    path, _ = write(tmp_path, precision="int8", parity=full)
    found = read_artifact(path).manifest.parity
    assert found.calibration is not None
    assert (found.calibration.directory, found.calibration.images, found.runs) == ("train", 512, ("native",))


@pytest.mark.parametrize(
    ("precision", "changes", "reason"),
    [
        ("fp32", {"cosine": COSINE}, "required except for fp32"),
        ("fp16", {}, "required except for fp32, this is fp16"),
        ("int8", {"cosine": COSINE}, "int8 requires parity.calibration"),
        ("fp16", {"cosine": COSINE | {"mean": 1.5}}, "less than or equal to 1"),
        ("fp8", {"cosine": COSINE}, "'fp32', 'fp16', 'bf16' or 'int8'"),
    ],
)
def test_an_inconsistent_manifest_is_refused(
    precision: str, changes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match=reason):
        write(tmp_path, precision=precision, parity=parity(**changes))
