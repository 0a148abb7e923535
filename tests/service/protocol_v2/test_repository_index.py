"""Index of a repository with many refused artifacts."""

from service.catalogue.catalogue import MOST_LISTED, Catalogue, Refused
from service.protocol_v2.repository_index import UNAVAILABLE, index_of


def test_a_limited_number_of_refused_artifacts_is_listed() -> None:
    refused = [Refused(f"colours/v{number:05}/1", f"reason {number}") for number in range(20 * MOST_LISTED)]
    found = index_of(Catalogue([], refused), (), only_ready=False)
    assert [(entry.name, entry.version, entry.state, entry.reason) for entry in found] == [
        (f"colours@v{number:05}", "1", UNAVAILABLE, f"reason {number}") for number in range(MOST_LISTED)
    ]
    assert index_of(Catalogue([], refused), (), only_ready=True) == []
