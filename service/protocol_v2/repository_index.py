"""Index of the repository: every version with its state."""

from collections.abc import Collection, Iterator
from itertools import islice

from service.catalogue.catalogue import MOST_LISTED, Catalogue, Servable
from service.protocol_v2.documents import IndexEntry

READY = "READY"
UNAVAILABLE = "UNAVAILABLE"


def index_of(catalogue: Catalogue, down: Collection[Servable], *, only_ready: bool) -> list[IndexEntry]:
    """Return an entry for each served version, and for the first MOST_LISTED others, by name and version.

    Args:
        catalogue: versions that are served or refused.
        down: versions that are being restarted.
        only_ready: whether to list ready versions only.
    """
    entries = []
    for servable in catalogue.servables():
        reason = "its backend is being restarted" if servable in down else None
        state = UNAVAILABLE if reason else READY
        version = str(servable.key.version)
        entries.append(IndexEntry(name=servable.key.name, version=version, state=state, reason=reason))
    if only_ready:
        entries = [entry for entry in entries if entry.state == READY]
    else:
        entries += islice(_refused(catalogue), MOST_LISTED)
    return sorted(entries, key=lambda entry: (entry.name, len(entry.version), entry.version))


def _refused(catalogue: Catalogue) -> Iterator[IndexEntry]:
    served = {str(servable.key) for servable in catalogue.servables()}
    for refused in catalogue.refused:
        if refused.name not in served:  # otherwise a version loaded before is still served
            model, variant, version = refused.name.split("/")
            yield IndexEntry(name=f"{model}@{variant}", version=version, state=UNAVAILABLE, reason=refused.reason)
