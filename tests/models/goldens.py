"""Reference tensors made by the iRPE authors' implementation, which stand beside the repository, not in it."""

import os
from pathlib import Path

import pytest

IRPE = Path(__file__).parents[3] / "shared" / "goldens" / "irpe"


def irpe_goldens() -> Path:
    """Return their folder; skip where it is absent, which it never is in CI."""
    if not IRPE.is_dir():
        assert not os.environ.get("CI"), f"{IRPE} is absent in CI"
        pytest.skip(f"the reference tensors of iRPE are not at {IRPE}")
    return IRPE
