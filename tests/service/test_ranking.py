"""Ranking of classes by logit."""

import numpy as np
import pytest

from service.ranking import rank


@pytest.mark.parametrize("top_k", [1, 2, 5, 9, 10, 11])
def test_top_k_equals_a_full_sort_with_ties_in_class_order(top_k: int) -> None:
    labels = [str(index) for index in range(10)]
    for seed in range(50):
        logits = np.random.default_rng(seed).integers(0, 4, 10).astype(np.float32)  # many are equal
        powers = [float(np.exp(logit)) for logit in logits.astype(float)]
        expected = sorted(range(10), key=lambda index: (-logits[index], index))[:top_k]
        found = rank(logits, labels, top_k)
        assert [(one.index, one.label) for one in found] == [(index, labels[index]) for index in expected]
        assert [one.probability for one in found] == pytest.approx([powers[i] / sum(powers) for i in expected])
