"""Wilson intervals and McNemar's test, compared with scipy's."""

import math

import pytest
from scipy.stats import binomtest, chi2

from service.offline.statistics import mcnemar, wilson


@pytest.mark.parametrize(
    ("right", "count"), [(0, 1), (1, 1), (0, 50), (7, 10), (351, 360), (360, 360), (50_000, 99_999)]
)
def test_the_interval_equals_scipys_wilson_interval(right: int, count: int) -> None:
    expected = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert wilson(right, count) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= wilson(right, count)[0] <= right / count <= wilson(right, count)[1] <= 1


def test_the_interval_equals_a_published_example() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I, method 3


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (6, 44), (10, 10), (2, 9), (500, 500), (480, 520)])
def test_few_discordant_images_are_tested_exactly(one: int, other: int) -> None:
    expected = binomtest(one, one + other, 0.5).pvalue if one + other else 1.0
    assert mcnemar(one, other) == mcnemar(other, one) == pytest.approx(expected, rel=1e-9)


def test_many_discordant_images_are_tested_by_chi_square_with_continuity_correction() -> None:
    assert mcnemar(560, 640) == pytest.approx(float(chi2.sf((80 - 1) ** 2 / 1200, 1)), rel=1e-9)
    assert mcnemar(600, 601) == 1.0
    assert math.isclose(mcnemar(560, 640), binomtest(560, 1200, 0.5).pvalue, rel_tol=0.01)
