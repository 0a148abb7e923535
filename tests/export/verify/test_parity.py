"""The parity check: errors, tolerances, and references in float64 or float32."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from artifact import Batch
from export.process.errors import ExportError, ParityError
from export.tracing.pixels import Normalisation
from export.verify.parity import TOLERANCE, compare
from export.verify.reference import FLOAT64, Array, Reference, compute_reference, normalise

LOGITS = np.array([[1.0, -4.0, 2.0], [0.5, 0.25, 3.0]])
NORMALISATION = Normalisation(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))


def reference(logits: Array = LOGITS, own: float | None = None) -> Reference:
    """Return a reference of one batch of two images; `own` is the network's error in float32."""
    pixels = torch.zeros(2, 1, 1, 3, dtype=torch.uint8)
    return Reference((pixels,), NORMALISATION, logits, FLOAT64, own)


def test_equal_logits_pass() -> None:
    parity = compare(reference(), LOGITS.astype(np.float32), TOLERANCE)
    assert (parity.max_abs_error, parity.max_rel_error, parity.top1_agreement) == (0, 0, 1)


def test_the_error_is_relative_to_the_largest_logit() -> None:
    found = LOGITS.copy()
    found[1, 1] += 2e-5
    parity = compare(reference(), found, TOLERANCE)
    assert parity.max_abs_error == pytest.approx(2e-5)
    assert parity.max_rel_error == pytest.approx(2e-5 / 4)


def test_one_wrong_logit_stops_the_export() -> None:
    found = LOGITS.copy()
    found[0, 2] += 1e-3
    with pytest.raises(ParityError, match=r"off by 2\.5e-04 of the largest logit, tolerance 1e-05"):
        compare(reference(), found, TOLERANCE)


@pytest.mark.parametrize(("own", "reported"), [(None, True), (2e-6, True), (2e-5, False), (0.1, False), (1e-4, False)])
def test_an_ill_conditioned_network_is_distinguished_from_a_wrong_graph(own: float | None, reported: bool) -> None:
    found = LOGITS.copy()
    found[0, 2] += 1e-3
    with pytest.raises(ParityError) as caught:
        compare(reference(own=own), found, TOLERANCE)
    message = str(caught.value)
    assert "2.5e-04" in message
    assert ("please report this" in message) == reported
    assert ("float32 is not sufficient" in message) == (not reported)
    assert own is None or f"{own:.1e}" in message


def test_errors_of_graph_and_network_of_similar_size_count_as_rounding() -> None:
    found = LOGITS.copy()
    found[0, 2] += 5e-5  # 1.25e-5 of the largest logit
    with pytest.raises(ParityError, match=r"float32 is not sufficient for this network: .* by 9\.0e-06 .* by 1\.2e-05"):
        compare(reference(own=9e-6), found, TOLERANCE)


class Amplifying(nn.Module):
    """A sine of large numbers, whose phase float32 cannot resolve."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.gain * x.flatten(1)[:, :10])


def test_the_float32_error_of_an_ill_conditioned_network_is_measured() -> None:
    errors = []
    for gain in (1.0, 1e6, 1e38):
        reference = compute_reference(Amplifying(gain), (2, 2), NORMALISATION, Batch(min=1, max=7))
        assert reference.float32_error is not None
        errors.append(reference.float32_error)
    assert errors[0] < 1e-6
    assert 1e-2 < errors[1] < 2
    assert errors[2] >= 1e-2


@pytest.mark.parametrize(("own", "words"), [(np.inf, "nor are"), (1e-7, "but the network's are;")])
def test_an_overflow_error_states_whether_the_network_overflows_too(own: float, words: str) -> None:
    with pytest.raises(ParityError, match=f"not finite in float32, {words}"):
        compare(reference(own=own), np.full_like(LOGITS, np.inf), TOLERANCE)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_logits_that_are_not_finite_stop_the_export(broken: float) -> None:
    found = LOGITS.copy()
    found[0, 0] = broken
    with pytest.raises(ParityError, match="not finite"):
        compare(reference(), found, TOLERANCE)


@pytest.mark.parametrize("number", [0.0, 0.3])
def test_a_reference_that_does_not_depend_on_the_image_is_refused(number: float) -> None:
    constant = np.full((2, 3), number)
    with pytest.raises(ParityError, match="equal for all images"):
        compare(reference(constant), constant, TOLERANCE)


def test_shapes_must_agree() -> None:
    with pytest.raises(ParityError, match=r"\(1, 3\)"):
        compare(reference(), LOGITS[:1], TOLERANCE)


class Mixed(nn.Module):
    """A network with parameters of several types, a tied parameter, a buffer and an index."""

    seen: ClassVar[list[torch.dtype]] = []  # on the class, because a copy of the network may run
    scale: Tensor
    order: Tensor

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(12, 10, generator=generator))
        self.tied = self.weight
        self.offset = nn.Parameter(torch.randn(10, generator=generator).half())
        self.register_buffer("scale", torch.randn(10, generator=generator), persistent=False)
        self.register_buffer("order", torch.arange(10).flip(0))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(self.offset.dtype)
        return (x.flatten(1) @ (self.weight + self.tied) * self.scale + self.offset)[:, self.order]


class Failing(Mixed):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        raise RuntimeError("it fails")


def test_the_reference_is_the_network_in_float64_on_the_images_of_the_reference() -> None:
    network = Mixed()
    network.seen.clear()
    reference = compute_reference(network, (2, 2), NORMALISATION, Batch(min=2, max=5))
    assert [len(images) for images in reference.pixels] == [2, 3]
    assert network.seen == [torch.float64] * 3 + [torch.float16] * 2  # one batch again, then in its own type
    assert reference.float32_error is not None
    assert 0 < reference.float32_error < 1e-5
    row = 0
    for images in reference.pixels:
        for image in normalise(images, NORMALISATION):
            for column in range(10):
                source = 9 - column
                weights = network.weight.detach()[:, source].double()
                expected = sum(2 * float(a) * float(b) for a, b in zip(image.flatten(), weights, strict=True))
                expected = expected * float(network.scale[source]) + float(network.offset.detach()[source])
                assert reference.logits[row, column] == pytest.approx(expected, rel=1e-12)
            row += 1


@pytest.mark.parametrize("kind", [Mixed, Failing])
def test_the_network_is_restored_bit_by_bit_after_float64(kind: type[Mixed]) -> None:
    network, untouched = kind(), kind()
    objects = dict(network.named_parameters())
    try:
        compute_reference(network, (2, 2), NORMALISATION, Batch(min=1, max=1))
    except ExportError:
        assert kind is Failing
    assert network.tied is network.weight
    for ours, theirs in (
        (network.named_parameters(), untouched.named_parameters()),
        (network.named_buffers(), untouched.named_buffers()),
    ):
        for (name, found), (_, expected) in zip(ours, theirs, strict=True):
            assert objects.get(name, found) is found
            assert found.dtype == expected.dtype
            assert torch.equal(found, expected), name


class Float32Only(Mixed):
    """A network that accepts float32 only."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError(f"float32 is needed, not {x.dtype}\nand more")
        return super().forward(x)


class AtLeastTwoImages(Float32Only):
    """A network that also fails for single images."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) < 2:
            raise ValueError("expected dtype float32 and two images")
        return super().forward(x)


def test_a_network_without_float64_is_compared_in_float32_with_the_reason() -> None:
    network = Float32Only()
    reference = compute_reference(network, (2, 2), NORMALISATION, Batch(min=2, max=3))
    assert reference.made_by == (
        "torch float32; in float64 the network fails at batch 2: TypeError: float32 is needed, not torch.float64"
    )
    with torch.no_grad():
        each = [network(normalise(images, NORMALISATION).float()) for images in reference.pixels]
    assert np.array_equal(reference.logits, torch.cat(each).double().numpy())
    assert compare(reference, reference.logits, TOLERANCE).reference.startswith("torch float32; in float64")


def test_a_network_that_casts_to_float32_is_compared_in_float64() -> None:
    class Casting(Mixed):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float()) + torch.arange(10, dtype=torch.float32)

    reference = compute_reference(Casting(), (2, 2), NORMALISATION, Batch(min=1, max=1))
    plain = compute_reference(Mixed(), (2, 2), NORMALISATION, Batch(min=1, max=1))
    assert reference.made_by == plain.made_by == FLOAT64
    np.testing.assert_allclose(reference.logits, plain.logits + np.arange(10), rtol=1e-13)


def test_a_network_that_fails_in_float32_too_is_refused_with_the_batch_and_the_reason() -> None:
    expected = "the network fails at batch 1: ValueError: expected dtype float32 and two images"
    with pytest.raises(ExportError, match=f"^{expected}$"):
        compute_reference(AtLeastTwoImages(), (2, 2), NORMALISATION, Batch(min=1, max=3))
    reference = compute_reference(AtLeastTwoImages(), (2, 2), NORMALISATION, Batch(min=2, max=3))
    assert reference.made_by.startswith("torch float32")


def test_a_reference_has_at_least_four_images_in_batches_that_the_graph_accepts() -> None:
    for batch, sizes in (
        ((1, 32), [1, 2, 3, 7]),
        ((3, 3), [3, 3]),
        ((1, 1), [1] * 4),
        ((1, 2), [1, 2, 2]),
        ((4, 6), [4]),
        ((2, 7), [2, 3, 7]),
    ):
        reference = compute_reference(Mixed(), (2, 2), NORMALISATION, Batch(min=batch[0], max=batch[1]))
        assert [len(images) for images in reference.pixels] == sizes
        assert reference.batches == tuple(sorted(set(sizes)))
        assert len(reference.errors(reference.logits)["batch_errors"]) == len(reference.batches)
