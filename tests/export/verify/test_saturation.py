"""Golden checks of `export/check.py` compute int8 products exactly, also on CPUs without VNNI."""

from pathlib import Path

import pytest

from export.verify.golden_check import RUNTIMES
from tests.service.backends.test_saturation import WHITE, error, put_products


@pytest.mark.parametrize("backend", RUNTIMES)
def test_the_largest_products_are_exact(tmp_path: Path, backend: str) -> None:
    _, _, run = RUNTIMES[backend](put_products(tmp_path), "fp32")
    assert error(run(WHITE)) < 0.005
