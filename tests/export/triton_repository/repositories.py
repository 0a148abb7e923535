"""Artifacts for tests of the export to Triton."""

from pathlib import Path

import numpy as np

from export.to_triton import main
from tests.artifact.drafts import ENGINE
from tests.service.artifacts import WEIGHTS, add_artifact


def run(repository: Path, output: Path, *flags: str) -> int:
    return main([str(repository), "--output", str(output), *flags])


def add_version_with_other_classes(path: Path) -> None:
    add_artifact(path, variant="mean", version=11, weights=np.ascontiguousarray(WEIGHTS[:, :3]))


def with_engine(path: Path, **changes: object) -> None:
    """Write an artifact `built` with an arbitrary engine file for batches 1 to 16."""
    engine = {**ENGINE, "version": "11.0.1", "profile": {"min": 1, "opt": 8, "max": 16}, **changes}
    found = {"engine": engine, "input": image(1, 16), "target": "tensorrt"}
    add_artifact(path, variant="built", files={"model.engine": b"engine"}, **found)  # type: ignore[arg-type]


def image(smallest: int, largest: int) -> dict[str, object]:
    sides = {"name": "image", "dtype": "uint8", "layout": "NHWC", "height": 8, "width": 6}
    return {**sides, "batch": {"min": smallest, "max": largest}}
