"""Golden files: those that export writes are read, all others are refused with bounded memory."""

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifact import GoldenFileError, limit_for, read_artifact, read_golden, stage
from artifact.golden import GOLDEN_LIMIT, expected_size
from tests.artifact.drafts import LABELS, draft, write
from tests.artifact.golden import add_golden, vouch
from tests.artifact.hostile import edit

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
LOGITS = np.random.default_rng(1).normal(size=(4, len(LABELS)))
SMALL = 2**20
"""Limit of memory in bytes for the refusal of any file below."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    directory, _ = write(tmp_path)
    add_golden(directory, PIXELS, LOGITS)
    return directory


def test_pixels_and_logits_are_read_as_numpy_wrote_them(path: Path) -> None:
    golden = read_golden(read_artifact(path))
    assert golden is not None
    assert len(golden) == 4
    assert np.array_equal(np.frombuffer(golden.pixels, np.uint8).reshape(golden.shape), PIXELS)
    assert np.array_equal(golden.logits, LOGITS)


def test_an_artifact_of_an_earlier_exporter_is_valid_without_one(tmp_path: Path) -> None:
    directory, manifest = write(tmp_path)
    assert manifest.golden is None
    assert "golden" not in (directory / "manifest.json").read_text()
    assert read_golden(read_artifact(directory)) is None


@pytest.mark.parametrize("size", [1, 3, 4, 8])
def test_every_image_is_in_a_batch_and_all_batches_are_full(size: int, path: Path) -> None:
    golden = read_golden(read_artifact(path))
    assert golden is not None
    batches = golden.batches(size)
    assert {len(batch) for batch in batches} == {size}
    assert {index for batch in batches for index in batch} == {0, 1, 2, 3}


def test_the_error_is_the_largest_over_the_largest_logit(path: Path) -> None:
    golden = read_golden(read_artifact(path))
    assert golden is not None
    found = LOGITS[[2, 0]]
    assert golden.error([2, 0], found.tolist()) == 0
    found[1, 2] += 0.25
    assert golden.error([2, 0], found.tolist()) == pytest.approx(0.25 / np.abs(LOGITS).max(), rel=1e-12)
    assert golden.error([0, 2], LOGITS[[2, 0]].tolist()) > 0.1  # another image's logits
    for broken in (np.nan, np.inf):
        found[0, 0] = broken
        assert golden.error([2, 0], found.tolist()) == np.inf
    assert golden.error([2, 0], found[:1].tolist()) == np.inf
    assert golden.error([2, 0], found[:, :2].tolist()) == np.inf


def test_limits_are_by_the_precision_that_runs(path: Path) -> None:
    manifest = read_artifact(path).manifest
    assert limit_for(manifest, "fp32") == 1e-4
    assert limit_for(manifest, "bf16") == 5e-2
    with pytest.raises(GoldenFileError, match="no limit of the golden check for fp16, only for fp32, bf16"):
        limit_for(manifest, "fp16")


def save(**arrays: Any) -> Callable[[Path], None]:  # noqa: ANN401 -- arguments of numpy.savez
    return lambda file: np.savez(file, **arrays)


def pack(compression: int = zipfile.ZIP_STORED, **members: bytes) -> Callable[[Path], None]:
    def make(file: Path) -> None:
        with zipfile.ZipFile(file, "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(f"{name}.npy", content)

    return make


def npy(array: Any, version: tuple[int, int] = (1, 0)) -> bytes:  # noqa: ANN401 -- any array
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), version)
    return file.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def cut(file: Path) -> None:
    save(pixels=PIXELS, logits=LOGITS)(file)
    file.write_bytes(file.read_bytes()[:-30])


def flip(file: Path) -> None:
    """Change a byte of the pixels, which the archive's checksum detects."""
    save(pixels=PIXELS, logits=LOGITS)(file)
    content = bytearray(file.read_bytes())
    content[400] ^= 1
    file.write_bytes(content)


GOOD = npy(LOGITS)
TERABYTE = "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 1099511627776, 8, 3), }\n"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no archive": (lambda file: file.write_bytes(b"PK"), "is not a ZIP archive"),
    "empty": (lambda file: file.write_bytes(b""), "is not a ZIP archive"),
    "cut": (cut, "is not a ZIP archive"),
    "a changed byte": (flip, "is a damaged ZIP archive: Bad CRC-32"),
    "compressed": (
        lambda file: np.savez_compressed(file, pixels=PIXELS, logits=LOGITS),
        "is compressed or encrypted",
    ),
    "a bomb": (
        pack(zipfile.ZIP_DEFLATED, pixels=npy(np.zeros(2**22, np.uint8)), logits=GOOD),
        "bytes, at most|is compressed",
    ),
    "many members": (save(pixels=PIXELS[:, :1], logits=LOGITS, **{f"m{n}": 0 for n in range(5)}), "of two arrays"),
    "other members": (save(pixels=PIXELS, labels=LOGITS), "contains members other than"),
    "other height": (save(pixels=PIXELS[:, :4], logits=LOGITS), r"\(4, 4, 8, 3\), expected \|u1 \(4, 8, 8, 3\)"),
    "fewer images": (save(pixels=PIXELS[:3], logits=LOGITS), r"\(3, 8, 8, 3\), expected"),
    "other classes": (save(pixels=PIXELS, logits=LOGITS[:, :2]), r"logits.npy of <f8 \(4, 2\), expected <f8 \(4, 3\)"),
    "float32 logits": (save(pixels=PIXELS, logits=LOGITS.astype(np.float32)), "logits.npy of <f4"),
    "NaN": (save(pixels=PIXELS, logits=LOGITS * np.nan), "NaN or infinite"),
    "zeros": (save(pixels=PIXELS, logits=LOGITS * 0), "only zero logits"),
    "objects": (save(pixels=PIXELS, logits=LOGITS.astype(object)), r"logits.npy of \|O"),
    "Fortran order": (save(pixels=np.asfortranarray(PIXELS), logits=LOGITS), "with a header that is not"),
    "version 2": (pack(pixels=npy(PIXELS, (2, 0)), logits=GOOD), "a format other than NumPy's 1.0"),
    "no header": (pack(pixels=b"\x93NUMPY\x01\x00", logits=GOOD), "a format other than NumPy's 1.0"),
    "code in the header": (pack(pixels=header("__import__('os')"), logits=GOOD), "with a header that is not"),
    "nested header": (pack(pixels=header("(" * 4000), logits=b""), "with a header that is not"),
    "a terabyte": (pack(pixels=header(TERABYTE), logits=GOOD), "1099511627776"),
    "less data": (pack(pixels=npy(PIXELS)[:-1], logits=GOOD), "contains 767 bytes of pixels.npy, expected 768"),
    "more data": (pack(pixels=npy(PIXELS) + b"\0", logits=GOOD), "contains 769 bytes of pixels.npy, expected 768"),
    "other than listed": (save(pixels=PIXELS ^ 1, logits=LOGITS), "is not the file the manifest describes"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_an_invalid_file_is_refused_with_the_reason_and_little_memory(name: str, path: Path) -> None:
    make, reason = DAMAGES[name]
    artifact = read_artifact(path)
    make(path / "golden.npz")
    if name != "other than listed":
        vouch(path)
        artifact = read_artifact(path)
    tracemalloc.start()
    try:
        with pytest.raises(GoldenFileError, match=f"golden.npz .*({reason}).*export or copy the artifact again"):
            read_golden(artifact)
        assert tracemalloc.get_traced_memory()[1] < SMALL
    finally:
        tracemalloc.stop()


def test_a_directory_of_many_members_is_not_read(path: Path) -> None:
    """`zipfile` would read it, because it uses the directory's length and ignores the stated number of members."""
    edit(path, lambda manifest: manifest["input"].update(height=256, width=256))
    edit(path, lambda manifest: manifest["preprocess"].update(resize=[256, 256]))
    with zipfile.ZipFile(path / "golden.npz", "w") as archive:
        for number in range(5000):
            archive.writestr(f"{number}", b"")
    content = bytearray((path / "golden.npz").read_bytes())
    content[-14:-10] = struct.pack("<HH", 2, 2)
    (path / "golden.npz").write_bytes(content)
    vouch(path)
    with pytest.raises(GoldenFileError, match="is not a ZIP archive of two arrays"):
        read_golden(read_artifact(path))
    content[-42:-38] = b"PK\x06\x07"  # of a ZIP64 directory, which `zipfile` prefers
    (path / "golden.npz").write_bytes(content)
    vouch(path)
    with pytest.raises(GoldenFileError, match=r"is not a ZIP archive of numpy\.savez"):
        read_golden(read_artifact(path))


def test_images_above_the_limit_are_refused_before_they_are_read(path: Path) -> None:
    edit(path, lambda manifest: manifest["input"].update(height=65_535, width=65_535))
    edit(path, lambda manifest: manifest["preprocess"].update(resize=[65_535, 65_535]))
    artifact = read_artifact(path)
    assert expected_size(artifact.manifest, 4) > GOLDEN_LIMIT
    with pytest.raises(GoldenFileError, match=f"would contain .* at most {GOLDEN_LIMIT} are allowed"):
        read_golden(artifact)


def test_a_file_removed_after_the_artifact_was_read_is_refused(path: Path) -> None:
    artifact = read_artifact(path)
    (path / "golden.npz").unlink()
    with pytest.raises(GoldenFileError, match=r"golden\.npz is missing"):
        read_golden(artifact)


def test_an_invalid_golden_file_is_not_committed(tmp_path: Path) -> None:
    golden = {"file": "golden.npz", "images": 4, "limits": {"fp32": 1e-4}}
    with pytest.raises(GoldenFileError, match="only zero logits"), stage(tmp_path, "pets", "learned", 1) as staging:
        staging.graph.write_bytes(b"graph")
        np.savez(staging.directory / "golden.npz", pixels=PIXELS, logits=LOGITS * 0)
        staging.commit(draft(golden=golden), LABELS)
    assert list(tmp_path.iterdir()) == []


def test_a_golden_file_that_is_not_listed_breaks_the_schema(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"files does not list the golden file, golden\.npz"):
        write(tmp_path, golden={"file": "golden.npz", "images": 4, "limits": {"fp32": 1e-4}})
