"""Logits of the reference by batch: one row for each image, which does not depend on the other images."""

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from artifact import Batch
from export.process.errors import ExportError
from export.tracing.pixels import Normalisation
from export.verify.reference import compute_reference
from tests.export.tracing.program.programs import Apply

NORMALISATION = Normalisation((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
DYNAMIC, ONE, TWO = Batch(min=1, max=8), Batch(min=1, max=1), Batch(min=2, max=2)


def logits(x: Tensor) -> Tensor:
    return x.flatten(1)


MIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: logits(x) - logits(x).mean(0),
    "softmax": lambda x: logits(x).softmax(0),
    "neighbours": lambda x: logits(x) + 1e-4 * logits(x).roll(1, 0),
    "batch norm": nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten()).eval(),
}


@pytest.mark.parametrize("case", MIXED)
def test_a_network_that_mixes_images_is_refused_unless_the_batch_is_fixed(case: str) -> None:
    network = Apply(MIXED[case])
    for batch in (DYNAMIC, Batch(min=2, max=3)):
        with pytest.raises(ExportError, match=r"depend on the other images of its batch, by .*--batch N:N"):
            compute_reference(network, (2, 2), NORMALISATION, batch)
    compute_reference(network, (2, 2), NORMALISATION, TWO)


@pytest.mark.parametrize(
    ("squeezed", "shape"),
    [(lambda x: logits(x).squeeze(), r"\[12\]"), (lambda x: logits(x).reshape(-1, 6), r"\[2, 6\]")],
    ids=["squeeze", "reshape"],
)
def test_logits_without_one_row_per_image_are_refused(squeezed: Callable[[Tensor], Tensor], shape: str) -> None:
    expected = rf"at batch 1 the network returns {shape} instead of \[1, classes\]; do not squeeze"
    for batch in (DYNAMIC, ONE):
        with pytest.raises(ExportError, match=expected):
            compute_reference(Apply(squeezed), (2, 2), NORMALISATION, batch)
