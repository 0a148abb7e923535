"""Artifacts of the repository at the time of a scan."""

from dataclasses import dataclass
from pathlib import Path

from artifact import Location, scan
from artifact.repository import HIDDEN
from service.catalogue.fingerprint import Fingerprint, fingerprint
from service.problems.server_errors import RepositoryUnreadableError
from service.resources.shortages import shortage


@dataclass(frozen=True)
class Sighting:
    """An artifact, and the fingerprint of its files."""

    location: Location
    seen: Fingerprint

    @property
    def hides(self) -> str:
        """Name of a model or variant that cannot be listed; empty if there is none."""
        return str(self.location).split(f"/{HIDDEN}")[0] if self.location.unreadable else ""


def look(repository: Path) -> dict[str, Sighting]:
    """Return all artifacts of the repository by name.

    Raises:
        RepositoryUnreadableError: the repository cannot be listed, or is empty.
    """
    try:
        locations = scan(repository)
    except FileNotFoundError as error:
        raise RepositoryUnreadableError(
            "the repository cannot be read: its directory is missing; mount or restore it"
        ) from error
    except OSError as error:
        why = shortage(error) or f"{error.strerror}; check its permissions"
        raise RepositoryUnreadableError(f"the repository cannot be read: {why}") from error
    if not locations:  # an unmounted volume often leaves its directory
        raise RepositoryUnreadableError("the repository is empty; add artifacts, or unload by name")
    return {str(location): Sighting(location, fingerprint(location.path)) for location in locations}
