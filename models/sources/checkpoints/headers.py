"""The header of a safetensors file, looked at before the library reads it.

8 bytes, little-endian, hold its length; then follows that much JSON, an entry for each tensor (the format's README).
The library takes headers up to 100 MB, which are a million tensors, and needs half a minute and a GB for them.
"""

from pathlib import Path

from models.sources.base import SourceError

LARGEST_HEADER = 2**24
"""Bytes: room for 100,000 tensors with names of 80 characters."""


def check_header(path: Path) -> None:
    """Raise SourceError if the header of a safetensors file is larger than any network's."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > LARGEST_HEADER:
        raise SourceError(
            f"{path} states a header of {length} bytes, at most {LARGEST_HEADER} are read (100,000 tensors); it is "
            "damaged, is not a safetensors file, or holds no network's weights"
        )
