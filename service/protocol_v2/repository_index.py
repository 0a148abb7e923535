"""Index of the repository: every version, and whether it is served."""

from collections.abc import Collection

from service.catalogue.catalogue import Catalogue, Servable
from service.protocol_v2.documents import IndexEntry

READY = "READY"
UNAVAILABLE = "UNAVAILABLE"


def index_of(catalogue: Catalogue, down: Collection[Servable], *, only_ready: bool) -> list[IndexEntry]:
    """Return an entry for each version, by name and version.

    Args:
        catalogue: versions that are served or refused.
        down: versions that are being restarted.
        only_ready: leave out what is not ready.
    """
    entries = []
    for servable in catalogue.servables():
        reason = "its backend is being restarted" if servable in down else None
        state = UNAVAILABLE if reason else READY
        version = str(servable.key.version)
        entries.append(IndexEntry(name=servable.key.name, version=version, state=state, reason=reason))
    served = {(entry.name, entry.version) for entry in entries}
    for refused in catalogue.refused:
        model, variant, version = refused.name.split("/")
        name = f"{model}@{variant}"
        if (name, version) not in served:  # else an earlier one is still served
            entries.append(IndexEntry(name=name, version=version, state=UNAVAILABLE, reason=refused.reason))
    return sorted(
        (entry for entry in entries if entry.state == READY or not only_ready),
        key=lambda entry: (entry.name, len(entry.version), entry.version),
    )
