"""Changes between listings: artifacts to load, and removed ones."""

import time

import pytest

from service.catalogue.fingerprint import Fingerprint
from service.catalogue.loading import RETRY_SECONDS
from service.reloading.changes import Changes


def fingerprint(size: int) -> Fingerprint:
    return (("model.onnx", 1, size, 1, 1),)


def test_only_new_and_changed_artifacts_are_due() -> None:
    changes = Changes({"same": fingerprint(1), "changed": fingerprint(1)})
    found = {"same": fingerprint(1), "changed": fingerprint(2), "new": fingerprint(1)}
    assert changes.due(found, patient=True) == ["changed", "new"]
    for name in ("changed", "new"):
        changes.settle(name, found[name])
    assert changes.due(found, patient=True) == []


def test_an_unreadable_artifact_is_retried_only_when_it_stops_changing() -> None:
    changes = Changes({})
    assert changes.due({"new": fingerprint(1)}, patient=True) == ["new"]
    assert not changes.is_final("new")
    changes.wait("new", fingerprint(1))
    for size in (2, 3, 4):
        assert changes.due({"new": fingerprint(size)}, patient=True) == []
    assert changes.due({"new": fingerprint(4)}, patient=True) == ["new"]
    assert changes.is_final("new")


def test_an_impatient_listing_takes_an_artifact_that_still_changes() -> None:
    changes = Changes({})
    changes.wait("new", fingerprint(1))
    assert changes.due({"new": fingerprint(2)}, patient=False) == ["new"]


def test_a_refused_artifact_is_due_again_only_when_it_changes() -> None:
    changes = Changes({})
    changes.wait("bad", fingerprint(1))
    changes.settle("bad", fingerprint(1))
    assert changes.due({"bad": fingerprint(1)}, patient=True) == []
    assert changes.due({"bad": fingerprint(2)}, patient=True) == ["bad"]
    assert not changes.is_final("bad")


def test_an_artifact_refused_for_a_passing_cause_is_due_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    found, now = {"short": fingerprint(1), "bad": fingerprint(1)}, 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    changes = Changes(found, passing=["short"])
    assert changes.due(found, patient=True) == []
    now += RETRY_SECONDS
    assert changes.due(found, patient=True) == ["short"]
    changes.settle("short", fingerprint(1), passing=True)
    assert changes.due(found, patient=True) == []
    now += RETRY_SECONDS
    assert changes.due(found, patient=True) == ["short"]
    changes.settle("short", fingerprint(1))
    now += RETRY_SECONDS
    assert changes.due(found, patient=True) == []


def test_an_artifact_that_equals_the_served_one_again_is_not_unfinished() -> None:
    changes = Changes({"a": fingerprint(1)})
    changes.wait("a", fingerprint(2))
    assert changes.due({"a": fingerprint(1)}, patient=True) == []
    assert not changes.is_final("a")


def test_an_artifact_missing_from_two_listings_in_a_row_is_removed() -> None:
    changes = Changes({"a": fingerprint(1), "b": fingerprint(1)})
    assert changes.gone({"a": fingerprint(1)}, patient=True) == []
    assert changes.gone({"a": fingerprint(1), "b": fingerprint(1)}, patient=True) == []  # it was being replaced
    assert changes.gone({"a": fingerprint(1)}, patient=True) == []
    assert changes.gone({"a": fingerprint(1)}, patient=True) == ["b"]


def test_an_impatient_listing_reports_a_missing_artifact_immediately() -> None:
    assert Changes({"a": fingerprint(1), "b": fingerprint(1)}).gone({"a": fingerprint(1)}, patient=False) == ["b"]


def test_a_forgotten_artifact_is_new() -> None:
    changes = Changes({"a": fingerprint(1)})
    changes.forget("a")
    assert changes.due({"a": fingerprint(1)}, patient=True) == ["a"]
    assert changes.gone({}, patient=False) == []


def test_an_unfinished_artifact_that_disappears_is_new_when_it_reappears() -> None:
    changes = Changes({})
    changes.wait("a", fingerprint(1))
    changes.gone({}, patient=True)
    assert not changes.is_final("a")
