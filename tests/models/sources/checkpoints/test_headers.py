"""Headers of safetensors files larger than any network's are refused before they are read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.sources.base import SourceError
from models.sources.checkpoints.fit import first_few
from models.sources.checkpoints.reading import LARGEST_HEADER, check_header


def write(path: Path, header: dict[str, object]) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return path


def tensors(count: int) -> dict[str, object]:
    return {str(number): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(count)}


@pytest.mark.parametrize(
    "header", [tensors(300_000), {"k" * 17_000_000: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}]
)
def test_too_many_tensors_or_a_huge_key_are_refused(header: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has a header of .* bytes; the maximum is 16777216") as refusal:
        check_header(write(tmp_path / "net.safetensors", header))
    assert len(str(refusal.value)) < 500


def test_a_length_beyond_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes((2**60).to_bytes(8, "little"))
    with pytest.raises(SourceError, match=f"the maximum is {LARGEST_HEADER}"):
        check_header(path)


def test_a_file_of_a_network_passes(tmp_path: Path) -> None:
    save_file({f"blocks.{number}.weight": torch.zeros(2) for number in range(1000)}, tmp_path / "net.safetensors")
    check_header(tmp_path / "net.safetensors")


def test_long_names_are_shortened_in_errors() -> None:
    assert len(first_few(["k" * 10**6] * 5)) < 700
    assert first_few(["a\nb"]) == "a\\nb"
