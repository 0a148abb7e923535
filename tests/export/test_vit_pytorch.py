"""Three networks of vit-pytorch, whose einops layers depend on the batch in different ways."""

import pytest

from benchmarks.vit_pytorch import SIZE, build, export, largest_error

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5  # float32 on both sides, two blocks


@pytest.mark.parametrize(
    "name",
    [
        "rvt",  # rotations of a module that is decorated with autocast(enabled=False)
        "simple_vit_with_relative_proj_pos_bias",  # scores looked up by an index that is expanded over the batch
        "xcit",  # class attention: products of two rows and of eleven are rounded differently
    ],
)
def test_the_graph_has_the_networks_logits_at_every_batch(name: str) -> None:
    network = build(name)
    session = export(network, SIZE)
    assert largest_error(network, session, SIZE) < TOLERANCE
    assert largest_error(build(name, seed=1), session, SIZE) > 1e-2  # the comparison above is able to fail
