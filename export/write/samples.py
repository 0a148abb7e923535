"""Sample pictures of an artifact: copies of the files in a directory, for people to try."""

import shutil
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from artifact.parts.shown import SampleName
from artifact.text import shown
from export.process.errors import ExportError
from imaging.decode import decode
from imaging.errors import ImageError

MOST_SAMPLES = 32
MOST_BYTES = 2**20
"""Of one picture: pages load all of them."""

_MOST_PIXELS = 50_000_000
_NAME: TypeAdapter[str] = TypeAdapter(SampleName)


def store_samples(source: Path | None, directory: Path) -> tuple[str, ...] | None:
    """Copy the pictures of a directory and return their names in order; None if no directory is given.

    Raises:
        ExportError: there are none or too many, or one is too large, damaged, or has a name or format that cannot be
            served.
        OSError: a file cannot be read or written.
    """
    if source is None:
        return None
    files = sorted(file for file in source.iterdir() if file.is_file() and not file.name.startswith("."))
    if not 0 < len(files) <= MOST_SAMPLES:
        raise ExportError(f"--samples {source} has {len(files)} files, expected 1 to {MOST_SAMPLES} pictures")
    directory.mkdir()
    for file in files:
        _check(file)
        shutil.copyfile(file, directory / file.name)
    return tuple(file.name for file in files)


def _check(file: Path) -> None:
    try:
        _NAME.validate_python(file.name)
    except ValidationError as error:
        raise ExportError(
            f"--samples: {shown(repr(file.name))} is no name of a sample: use letters, digits, '.', '_' and '-', and "
            "the suffix .png, .jpg, .jpeg or .webp"
        ) from error
    if (size := file.stat().st_size) > MOST_BYTES:
        raise ExportError(f"--samples: {file} has {size} bytes, at most {MOST_BYTES} are allowed; scale it down")
    try:
        decode(file.read_bytes(), _MOST_PIXELS)
    except ImageError as error:
        raise ExportError(f"--samples: {file}: {error}") from error
