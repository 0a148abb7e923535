"""Artifacts that are due or gone, listing after listing."""

from service.catalogue.fingerprint import Fingerprint
from service.reloading.changes import Changes


def look(size: int) -> Fingerprint:
    return (("model.onnx", 1, size, 1, 1),)


def test_only_what_is_new_or_looks_different_is_due() -> None:
    changes = Changes({"same": look(1), "changed": look(1)})
    found = {"same": look(1), "changed": look(2), "new": look(1)}
    assert changes.due(found, patient=True) == ["changed", "new"]
    for name in ("changed", "new"):
        changes.settle(name, found[name])
    assert changes.due(found, patient=True) == []


def test_what_cannot_be_read_is_tried_again_only_when_it_rests() -> None:
    changes = Changes({})
    assert changes.due({"new": look(1)}, patient=True) == ["new"]
    assert not changes.is_final("new")
    changes.wait("new", look(1))
    for size in (2, 3, 4):
        assert changes.due({"new": look(size)}, patient=True) == []
    assert changes.due({"new": look(4)}, patient=True) == ["new"]
    assert changes.is_final("new")


def test_an_impatient_listing_takes_what_still_changes_at_once() -> None:
    changes = Changes({})
    changes.wait("new", look(1))
    assert changes.due({"new": look(2)}, patient=False) == ["new"]


def test_what_was_refused_is_due_again_only_when_it_changes() -> None:
    changes = Changes({})
    changes.wait("bad", look(1))
    changes.settle("bad", look(1))
    assert changes.due({"bad": look(1)}, patient=True) == []
    assert changes.due({"bad": look(2)}, patient=True) == ["bad"]
    assert not changes.is_final("bad")


def test_what_turned_back_to_what_is_served_is_forgotten_as_unfinished() -> None:
    changes = Changes({"a": look(1)})
    changes.wait("a", look(2))
    assert changes.due({"a": look(1)}, patient=True) == []
    assert not changes.is_final("a")


def test_what_two_looks_in_a_row_miss_is_gone() -> None:
    changes = Changes({"a": look(1), "b": look(1)})
    assert changes.gone({"a": look(1)}, patient=True) == []
    assert changes.gone({"a": look(1), "b": look(1)}, patient=True) == []  # it was only being replaced
    assert changes.gone({"a": look(1)}, patient=True) == []
    assert changes.gone({"a": look(1)}, patient=True) == ["b"]


def test_an_impatient_listing_finds_it_gone_at_once() -> None:
    assert Changes({"a": look(1), "b": look(1)}).gone({"a": look(1)}, patient=False) == ["b"]


def test_what_was_forgotten_is_new() -> None:
    changes = Changes({"a": look(1)})
    changes.forget("a")
    assert changes.due({"a": look(1)}, patient=True) == ["a"]
    assert changes.gone({}, patient=False) == []


def test_an_unfinished_one_that_vanishes_is_new_when_it_comes_back() -> None:
    changes = Changes({})
    changes.wait("a", look(1))
    changes.gone({}, patient=True)
    assert not changes.is_final("a")
