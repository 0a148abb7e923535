"""Golden files for artifacts that were written without one."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifact.hashing import describe_file
from tests.artifact.hostile import edit, list_file

LIMITS = {"fp32": 1e-4, "bf16": 5e-2}


def add_golden(path: Path, pixels: NDArray[np.uint8], logits: NDArray[Any], limits: dict[str, float] = LIMITS) -> None:
    """Write golden.npz into an artifact and list it in the manifest."""
    np.savez(path / "golden.npz", pixels=pixels, logits=logits)
    vouch(path)
    golden = {"file": "golden.npz", "images": len(pixels), "limits": limits}
    edit(path, lambda manifest: manifest.update(golden=golden))


def vouch(path: Path, name: str = "golden.npz") -> None:
    """List a file in the manifest with its current size and hash."""
    list_file(path, name, describe_file(path / name))
