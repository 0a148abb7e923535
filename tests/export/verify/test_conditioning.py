"""Networks with random weights are well conditioned in float32, on the images of the parity check and on noise."""

import pytest
import torch

from artifact import Batch
from export.tracing.pixels import Normalisation
from export.verify.parity import UNKNOWN_TOLERANCE
from export.verify.reference import FLOAT64, compute_reference, normalise
from models.sources import Overrides, RandomWeights, load_source
from models.sources.pictures import noise

pytestmark = pytest.mark.slow


def test_attention_after_batch_norms_does_not_amplify_rounding() -> None:
    loaded = load_source("timm:levit_128s", RandomWeights(2), Overrides())
    normalisation = Normalisation(loaded.preprocess.mean, loaded.preprocess.std)
    reference = compute_reference(loaded.network, loaded.image_size, normalisation, Batch(min=2, max=2))
    assert reference.made_by == FLOAT64
    assert reference.float32_error is not None
    assert reference.float32_error < UNKNOWN_TOLERANCE / 10
    images = normalise(noise(2, loaded.image_size, 5), normalisation).float()
    with torch.no_grad():
        logits, moved = loaded.network(images), loaded.network(images * (1 + 1e-6))
    assert float((moved - logits).abs().max() / logits.abs().max()) < 1e-3
