"""Small valid artifacts for tests."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from artifact import Draft, Manifest, stage

LABELS = ("cat", "dog", "crow")
ENGINE: dict[str, Any] = {
    "file": "model.engine",
    "library": "TensorRT",
    "version": "10.16.1",
    "flavour": "tensorrt",
    "gpu": {"name": "NVIDIA L4", "compute_capability": "8.9"},
    "profile": {"min": 1, "opt": 8, "max": 32},
    "settings": {},
    "seconds": 12.5,
}
"""Fields of a manifest's engine."""


def draft(**changes: Any) -> Draft:  # noqa: ANN401 -- any field of a manifest
    fields = {
        "source": {"name": "posbake:tiny.json", "weights": "random", "seed": 0},
        "architecture": "vit",
        "encoding": "learned",
        "precision": "fp32",
        "target": "portable",
        "input": {
            "name": "image",
            "dtype": "uint8",
            "layout": "NHWC",
            "height": 8,
            "width": 8,
            "batch": {"min": 1, "max": 4},
        },
        "output": {"name": "logits", "dtype": "float32", "classes": len(LABELS)},
        "preprocess": {"resize": (8, 8), "interpolation": "bicubic", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
        "graph": {"opset": 20, "nodes": 1, "ops": {"Cast": 1}, "constant_only_nodes": 0, "table_gathers": 0},
        "baked": [],
        "parity": {
            "reference": "torch float64",
            "batches": (1, 2, 3, 7),
            "max_abs_error": 1e-7,
            "max_rel_error": 1e-7,
            "top1_agreement": 1.0,
            "tolerance": 1e-5,
        },
        "tools": {"torch": "2.15.0"},
        "created": datetime(2026, 11, 20, tzinfo=UTC),
    }
    return Draft.model_validate(fields | changes)


def write(repository: Path, version: int = 1, **changes: Any) -> tuple[Path, Manifest]:  # noqa: ANN401
    with stage(repository, "pets", "learned", version) as staging:
        staging.graph.write_bytes(b"graph")
        manifest = staging.commit(draft(**changes), LABELS)
    return staging.target, manifest
