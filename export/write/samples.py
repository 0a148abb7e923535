"""Sample images of an artifact: copies of the files in a directory, which the page offers for a try."""

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
"""Maximum size of an image in bytes: the page loads all of them."""

_MOST_PIXELS = 50_000_000
_NAME: TypeAdapter[str] = TypeAdapter(SampleName)


def store_samples(source: Path | None, directory: Path) -> tuple[str, ...] | None:
    """Copy the images of a directory and return their sorted names; None if no directory is given.

    Raises:
        ExportError: the directory has no or too many files, or an image is too large, damaged, or has an unsupported
            name or format.
        OSError: a file cannot be read or written.
    """
    if source is None:
        return None
    files = sorted(file for file in source.iterdir() if file.is_file() and not file.name.startswith("."))
    if not 0 < len(files) <= MOST_SAMPLES:
        raise ExportError(f"--samples {source} has {len(files)} files, expected 1 to {MOST_SAMPLES} images")
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
            f"--samples: {shown(repr(file.name))} is not a valid name: use letters, digits, '.', '_' and '-', and the "
            "suffix .png, .jpg, .jpeg or .webp"
        ) from error
    if (size := file.stat().st_size) > MOST_BYTES:
        raise ExportError(f"--samples: {file} has {size} bytes, at most {MOST_BYTES} are allowed; scale it down")
    try:
        decode(file.read_bytes(), _MOST_PIXELS)
    except ImageError as error:
        raise ExportError(f"--samples: {file}: {error}") from error
