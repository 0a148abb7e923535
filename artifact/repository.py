"""Repository of artifacts: `<model>/<variant>/<version>/`, with integer versions from 1."""

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from artifact.text import escaped


@dataclass(frozen=True, order=True)
class Location:
    """Path of an artifact, and its names from the path; `version` may not be a number.

    The string of a location is `<model>/<variant>/<version>`, escaped for logs and responses.
    """

    model: str
    variant: str
    version: str
    path: Path
    unreadable: str = ""
    """Reason why `path`, a directory of a model or variant, cannot be listed; unknown names are `?`."""

    def __str__(self) -> str:
        return escaped(f"{self.model}/{self.variant}/{self.version}")


HIDDEN = "?"

_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors of the process or machine, which concern every directory."""


def scan(repository: Path | str) -> list[Location]:
    """Return the directories at the depth of artifacts, and those that cannot be listed, sorted by name.

    Hidden directories are ignored, because exports in progress use them. Directories that are removed during the scan,
    as after a failed export of a new model, are ignored too.

    Raises:
        OSError: the repository is missing or cannot be listed, or there are too many open files.
    """
    return sorted(_locations(Path(repository)))


def next_version(repository: Path, model: str, variant: str) -> int:
    """Return the newest version plus one, or 1 if there is none."""
    names = [directory.name for directory in _directories_if_there(repository / model / variant)]
    return 1 + max((int(name) for name in names if is_version(name)), default=0)


def is_version(name: str) -> bool:
    """Return whether a directory's name is a version: an integer from 1, without leading zeros."""
    return re.fullmatch(r"[1-9][0-9]*", name, re.ASCII) is not None


def _locations(repository: Path) -> Iterator[Location]:
    for model in _directories(repository):
        try:
            variants = _directories_if_there(model)
        except OSError as error:
            yield Location(model.name, HIDDEN, HIDDEN, model, _reason_of_one(error))
            continue
        for variant in variants:
            try:
                versions = _directories_if_there(variant)
            except OSError as error:
                yield Location(model.name, variant.name, HIDDEN, variant, _reason_of_one(error))
                continue
            yield from (Location(model.name, variant.name, version.name, version) for version in versions)


def _reason_of_one(error: OSError) -> str:
    """Return the reason why a directory cannot be listed; raise an error that concerns all of them."""
    if error.errno in _SHORTAGES:
        raise error
    return error.strerror or str(error)


def _directories(parent: Path) -> Iterator[Path]:
    return (child for child in parent.iterdir() if child.is_dir() and not child.name.startswith("."))


def _directories_if_there(parent: Path) -> list[Path]:
    try:
        return list(_directories(parent))
    except FileNotFoundError:
        return []
