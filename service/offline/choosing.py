"""Selection of artifacts by the names on the command line, without opening any."""

from collections.abc import Iterable
from pathlib import Path

from artifact import Location, scan
from artifact.repository import is_version
from artifact.text import escaped
from service.offline.errors import ArtifactChoiceError, listed
from service.resources.shortages import shortage


def choose(repository: Path, model: str | None, variant: str | None, version: int | None = None) -> Location:
    """Return the location of the artifact with these names; None selects the only one, or the newest version.

    Raises:
        ArtifactChoiceError: the repository cannot be read, a name is unknown, or several match; lists the known ones.
    """
    variants = _variants(repository, model)
    names = sorted({location.variant for location in variants})
    chosen = _one("variant", variant, names, f"of model {escaped(variants[0].model)!r}")
    found = {int(location.version): location for location in variants if location.variant == chosen}
    if version is not None and version not in found:
        raise ArtifactChoiceError(
            f"{escaped(f'{variants[0].model}/{chosen}')} has no version {version}; known: "
            f"{listed([str(known) for known in sorted(found)])}"
        )
    return found[max(found) if version is None else version]


def choose_variants(repository: Path, model: str | None, wanted: Iterable[str] | None) -> list[Location]:
    """Return the newest version of each named variant, or of all, in order.

    Raises:
        ArtifactChoiceError: as `choose`.
    """
    variants = _variants(repository, model)
    names = sorted({location.variant for location in variants}) if wanted is None else list(dict.fromkeys(wanted))
    return [choose(repository, variants[0].model, name) for name in names]


def _variants(repository: Path, model: str | None) -> list[Location]:
    try:
        locations = [location for location in scan(repository) if is_version(location.version)]
    except OSError as error:
        why = shortage(error) or f"{error.strerror or error}; name another --repository"
        raise ArtifactChoiceError(f"cannot read repository {repository}: {why}") from error
    if not locations:
        raise ArtifactChoiceError(f"repository {repository} has no artifact; export one, or name another --repository")
    chosen = _one("model", model, sorted({location.model for location in locations}), f"in {repository}")
    return [location for location in locations if location.model == chosen]


def _one(what: str, name: str | None, known: list[str], where: str) -> str:
    if name is None and len(known) == 1:
        return known[0]
    names = listed([escaped(one) for one in known])
    if name is None:
        raise ArtifactChoiceError(f"there are several {what}s {where}: {names}; name one with --{what}")
    if name not in known:
        raise ArtifactChoiceError(f"there is no {what} {escaped(name)!r} {where}; known: {names}")
    return name
