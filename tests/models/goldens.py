"""Reference tensors of the iRPE authors' implementation, stored outside the repository."""

import os
from pathlib import Path

import pytest

IRPE = Path(__file__).parents[3] / "shared" / "goldens" / "irpe"


def irpe_goldens() -> Path:
    """Return the folder of the reference tensors; skip the test if it is absent, except in CI."""
    if not IRPE.is_dir():
        assert not os.environ.get("CI"), f"{IRPE} is absent in CI"
        pytest.skip(f"the reference tensors of iRPE are not at {IRPE}")
    return IRPE
