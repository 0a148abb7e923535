"""Golden file: images with the original network's logits, which a backend must reproduce before it serves.

Format: a ZIP archive of `numpy.savez` with two stored (not compressed) members: `pixels.npy`, uint8 [n, H, W, 3];
`logits.npy`, little-endian float64 [n, C]. H, W, C and n are in the manifest. All other forms are rejected, so the cost
of reading is bounded by the size of the file, which the manifest determines.
"""

import io
import re
import struct
import sys
import zipfile
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, prod
from pathlib import Path

from artifact.errors import GoldenFileError
from artifact.hashing import describe
from artifact.manifest import Manifest
from artifact.opening import UnreadableFileError, read_regular
from artifact.parts.measured import Golden
from artifact.reader import Artifact
from artifact.text import shown

GOLDEN_LIMIT = 2**28
"""Maximum size of the golden file in bytes: 4 images of 4,700 x 4,700 pixels."""

_OVERHEAD = 4096
"""Maximum size of the archive's headers and directory in bytes; they take fewer than 1,000."""

_PIXELS, _LOGITS = "pixels.npy", "logits.npy"
_DIRECTORY = 1024
"""Maximum size of the archive's directory in bytes; it has two members."""

_END = struct.Struct("<4sHHHHIIH")
"""End of a ZIP archive without a comment: signature, disks, members, bytes and offset of the directory."""
_ZIP64 = b"PK\x06\x07"
_ENCRYPTED = 1

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(r"\{'descr': '([^']{1,8})', 'fortran_order': False, 'shape': \(([0-9]+(?:, [0-9]+)+)\), \} *\n")


@dataclass(frozen=True)
class GoldenInputs:
    """Verified contents of a golden file.

    Attributes:
        pixels: uint8 pixels in C order.
        shape: (n, H, W, 3).
        logits: logits of the original network, one row of C for each image.
    """

    pixels: memoryview
    shape: tuple[int, int, int, int]
    logits: tuple[tuple[float, ...], ...]

    def __len__(self) -> int:
        return len(self.logits)

    def batches(self, size: int) -> list[list[int]]:
        """Return the images of each batch of a given size; the last batch is padded with the first images."""
        count = len(self)
        return [[index % count for index in range(start, start + size)] for start in range(0, count, size)]

    def error(self, images: Sequence[int], found: Sequence[Sequence[float]]) -> float:
        """Return the largest absolute error of the logits over the largest logit of all images, as in `Parity`.

        The result is infinity if logits are missing, or one is NaN or infinite.
        """
        if list(map(len, found)) != [len(self.logits[index]) for index in images]:
            return inf
        largest = max(abs(value) for row in self.logits for value in row)
        errors = [
            abs(value - expected)
            for index, row in zip(images, found, strict=True)
            for value, expected in zip(row, self.logits[index], strict=True)
        ]
        return max(errors) / largest if all(map(isfinite, errors)) else inf


def limit_for(manifest: Manifest, precision: str) -> float:
    """Return the limit on the error for a runtime that computes in `precision`; see `RunPrecision`.

    Raises:
        GoldenFileError: the manifest has no golden file, or no limit for this precision.
    """
    golden = manifest.golden
    limits = {} if golden is None else {str(name): limit for name, limit in golden.limits.items()}
    if precision not in limits:
        raise GoldenFileError(
            f"the manifest has no limit of the golden check for {shown(precision)}, only for "
            f"{', '.join(limits) or 'none'}; run it in one of those precisions, or export the artifact again"
        )
    return limits[precision]


def expected_size(manifest: Manifest, images: int) -> int:
    """Return the size of the pixels and logits of n images in bytes."""
    pixels = images * manifest.input.height * manifest.input.width * 3
    return pixels + images * manifest.output.classes * 8


def read_golden(artifact: Artifact) -> GoldenInputs | None:
    """Return the contents of an artifact's golden file; None if it has none.

    The file's hash is verified again, because the file may have been replaced since the artifact was verified.

    Raises:
        GoldenFileError: the file does not match the manifest or the format.
    """
    golden = artifact.manifest.golden
    if golden is None:
        return None
    try:
        return _parse(_read(artifact, golden), artifact.manifest, golden)
    except _UnfitError as error:
        raise GoldenFileError(
            f"{artifact.path}: {shown(golden.file)} {error}; export or copy the artifact again"
        ) from error


class _UnfitError(Exception):
    """The file is not a golden file of its manifest. The message is a clause such as "is missing"."""


def _read(artifact: Artifact, golden: Golden) -> bytes:
    size = expected_size(artifact.manifest, golden.images)
    if size > GOLDEN_LIMIT:
        raise _UnfitError(f"would contain {size} bytes of pixels and logits, at most {GOLDEN_LIMIT} are allowed")
    try:
        content = read_regular(Path(artifact.path, golden.file), size + _OVERHEAD)
    except UnreadableFileError as error:
        raise _UnfitError(str(error)) from error
    if describe(io.BytesIO(content)) != artifact.manifest.files[golden.file]:
        raise _UnfitError("is not the file the manifest describes")
    return content


def _parse(content: bytes, manifest: Manifest, golden: Golden) -> GoldenInputs:
    members = _members(content)
    tensor, count = manifest.input, golden.images
    shape = (count, tensor.height, tensor.width, 3)
    pixels = _array(members, _PIXELS, "|u1", shape)
    numbers = array("d", bytes(_array(members, _LOGITS, "<f8", (count, manifest.output.classes))))
    if sys.byteorder == "big":
        numbers.byteswap()
    if not all(map(isfinite, numbers)):
        raise _UnfitError("contains logits that are NaN or infinite")
    if not any(numbers):
        raise _UnfitError("contains only zero logits, so a comparison is meaningless")
    classes = manifest.output.classes
    rows = tuple(tuple(numbers[start : start + classes]) for start in range(0, len(numbers), classes))
    return GoldenInputs(pixels, shape, rows)


def _members(content: bytes) -> dict[str, bytes]:
    """Return the two members of the archive. The directory is checked first, because `zipfile` reads any length."""
    end = content[-_END.size :]
    if len(end) < _END.size or content[-_END.size - 20 :][:4] == _ZIP64:
        raise _UnfitError("is not a ZIP archive of numpy.savez")
    signature, _, _, _, members, directory, _, comment = _END.unpack(end)
    if signature != b"PK\x05\x06" or members != 2 or directory > _DIRECTORY or comment:
        raise _UnfitError(f"is not a ZIP archive of two arrays, {_PIXELS} and {_LOGITS}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if sorted(entry.filename for entry in entries) != sorted((_PIXELS, _LOGITS)):
                raise _UnfitError(f"contains members other than {_PIXELS} and {_LOGITS}")
            for entry in entries:
                if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
                    raise _UnfitError("is compressed or encrypted; its members must be stored")
                if entry.file_size > len(content):
                    raise _UnfitError(f"lists {entry.file_size} bytes for {shown(entry.filename)}, but is smaller")
            return {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, EOFError, OSError) as error:
        raise _UnfitError(f"is a damaged ZIP archive: {shown(error)}") from error


def _array(members: dict[str, bytes], name: str, dtype: str, shape: tuple[int, ...]) -> memoryview:
    """Return the data of a member in NumPy's format 1.0, C order, after a check of its header.

    Pickled arrays have another dtype, so they are rejected.
    """
    member = members[name]
    start = len(_MAGIC) + 2
    if member[: len(_MAGIC)] != _MAGIC or len(member) < start:
        raise _UnfitError(f"contains {name} in a format other than NumPy's 1.0")
    (length,) = struct.unpack("<H", member[len(_MAGIC) : start])
    header = member[start : start + length].decode("latin-1")
    match = _HEADER.fullmatch(header)
    if match is None:
        raise _UnfitError(f"contains {name} with a header that is not that of an array of numbers: {shown(header, 80)}")
    found = (match[1], f"({match[2]})")
    if found != (dtype, str(shape)):
        raise _UnfitError(f"contains {name} of {shown(' '.join(found), 80)}, expected {dtype} {shape}")
    size = prod(shape) * (8 if dtype == "<f8" else 1)
    data = memoryview(member)[start + length :]
    if len(data) != size:
        raise _UnfitError(f"contains {len(data)} bytes of {name}, expected {size}")
    return data
