"""Restart and abandonment of a version's backend."""

from collections.abc import Callable
from pathlib import Path

import pytest

from artifact import read_artifact
from service.backends.base import Backend
from service.backends.restartable import Restartable
from tests.service.artifacts import add_artifact
from tests.service.scripted import ScriptedBackend


@pytest.fixture
def open_(tmp_path: Path, scripted: type[ScriptedBackend]) -> Callable[[], ScriptedBackend]:
    add_artifact(tmp_path, variant="a")
    artifact = read_artifact(tmp_path / "colours/a/1")
    return lambda: scripted(artifact, "paper", 1)


def passes(_backend: Backend) -> None:
    """Accept the backend."""


def test_a_restart_closes_the_old_backend_before_it_opens_a_new_one(
    open_: Callable[[], ScriptedBackend], scripted: type[ScriptedBackend]
) -> None:
    backend = Restartable(open_)
    before = backend.current()
    backend.restart(passes)
    assert backend.current() is not before
    assert (scripted.opened, scripted.closed) == (["a", "a"], ["a"])


def test_a_new_backend_that_fails_its_check_is_closed_and_not_used(
    open_: Callable[[], ScriptedBackend], scripted: type[ScriptedBackend]
) -> None:
    def fails(_backend: Backend) -> None:
        raise RuntimeError("failed")

    backend = Restartable(open_)
    with pytest.raises(RuntimeError, match="failed"):
        backend.restart(fails)
    assert scripted.closed == ["a", "a"]
    backend.restart(passes)
    backend.current()


def test_an_abandoned_backend_is_not_closed_because_it_still_runs(
    open_: Callable[[], ScriptedBackend], scripted: type[ScriptedBackend]
) -> None:
    backend = Restartable(open_)
    abandoned = backend.current()
    assert backend.abandon(abandoned)
    backend.restart(passes)
    assert scripted.closed == []
    fresh = backend.current()
    assert not backend.abandon(abandoned)  # called again by another hanging run
    assert backend.current() is fresh
    backend.close()
    assert scripted.closed == ["a"]


def test_a_restart_after_close_leaves_no_backend_open(
    open_: Callable[[], ScriptedBackend], scripted: type[ScriptedBackend]
) -> None:
    backend = Restartable(open_)
    backend.close()
    backend.restart(passes)
    assert scripted.closed == ["a", "a"]
