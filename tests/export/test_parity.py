"""The parity check passes what is equal and stops what is not."""

import numpy as np
import pytest

from export.errors import ParityError
from export.parity import TOLERANCE, compare

LOGITS = np.array([[1.0, -4.0, 2.0], [0.5, 0.25, 3.0]])


def test_equal_logits_pass() -> None:
    parity = compare(LOGITS, LOGITS.astype(np.float32), [2], TOLERANCE)
    assert (parity.max_abs_error, parity.max_rel_error, parity.top1_agreement) == (0, 0, 1)


def test_the_error_is_relative_to_the_largest_logit() -> None:
    found = LOGITS.copy()
    found[1, 1] += 2e-5
    parity = compare(LOGITS, found, [2], TOLERANCE)
    assert parity.max_abs_error == pytest.approx(2e-5)
    assert parity.max_rel_error == pytest.approx(2e-5 / 4)


def test_one_wrong_logit_stops_the_export() -> None:
    found = LOGITS.copy()
    found[0, 2] += 1e-3
    with pytest.raises(ParityError, match=r"off by 2\.5e-04 of the largest logit, tolerance 1e-05"):
        compare(LOGITS, found, [2], TOLERANCE)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_logits_that_are_not_finite_stop_the_export(broken: float) -> None:
    found = LOGITS.copy()
    found[0, 0] = broken
    with pytest.raises(ParityError, match="not finite"):
        compare(LOGITS, found, [2], TOLERANCE)


def test_nothing_is_proved_by_zeros() -> None:
    with pytest.raises(ParityError, match="zero"):
        compare(np.zeros((2, 3)), np.zeros((2, 3)), [2], TOLERANCE)


def test_shapes_must_agree() -> None:
    with pytest.raises(ParityError, match=r"\(1, 3\)"):
        compare(LOGITS, LOGITS[:1], [2], TOLERANCE)
