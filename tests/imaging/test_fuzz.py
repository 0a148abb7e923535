"""Arbitrary bytes are decoded or refused as a damaged image."""

from collections.abc import Iterator

import pytest

from benchmarks.fuzz_images import fuzz, mutated, seeds
from imaging.decode import decode, pillow_pixel_limit
from imaging.errors import NotAnImageError

pytestmark = pytest.mark.slow


@pytest.fixture
def as_served() -> Iterator[None]:
    with pillow_pixel_limit(1_000_000):
        yield


@pytest.mark.usefixtures("as_served")
def test_20000_mutated_files_are_decoded_or_refused() -> None:
    outcome = fuzz(20_000, seed=0)
    assert outcome.others == {}
    assert sum(outcome.counts.values()) == 20_000
    assert outcome.counts["decoded"] > 2000  # many mutated files remain decodable
    assert outcome.slowest[0] < 2  # CPU seconds


def test_a_mutation_is_reproducible_from_its_number() -> None:
    files = seeds()
    assert mutated(files, 0, 7) == mutated(files, 0, 7) != mutated(files, 1, 7)


@pytest.mark.parametrize("kind", [AssertionError, RecursionError, AttributeError, KeyError, SystemError, OverflowError])
def test_any_exception_of_a_decoder_is_reported_as_a_damaged_image(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def reader(_: bytes) -> None:
        raise kind

    monkeypatch.setattr("imaging.decode.read_picture", reader)
    with pytest.raises(NotAnImageError, match=f"damaged \\({kind.__name__}\\)"):
        decode(b"x", 1000)
