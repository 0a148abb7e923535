from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artifact import read_artifact
from service.backends.base import Backend
from service.backends.restartable import Restartable
from tests.service.artifacts import add_artifact
from tests.service.scripted import ScriptedBackend, fresh


@pytest.fixture
def scripted() -> Iterator[type[ScriptedBackend]]:
    with fresh() as backend:
        yield backend


@pytest.fixture
def open_(tmp_path: Path, scripted: type[ScriptedBackend]) -> Callable[[], ScriptedBackend]:
    add_artifact(tmp_path, variant="a")
    artifact = read_artifact(tmp_path / "colours/a/1")
    return lambda: scripted(artifact, "paper", 1)


def well(_backend: Backend) -> None:
    """A check that finds nothing."""


def test_a_restart_closes_the_old_before_it_opens_the_new(
    open_: Callable[[], ScriptedBackend], scripted: type[ScriptedBackend]
) -> None:
    backend = Restartable(open_)
    before = backend.current()
    backend.restart(well)
    assert backend.current() is not before
    assert (scripted.opened, scripted.closed) == (["a", "a"], ["a"])


def test_a_new_one_that_is_not_well_is_closed_and_not_used(
    open_: Callable[[], ScriptedBackend], scripted: type[ScriptedBackend]
) -> None:
    def ill(_backend: Backend) -> None:
        raise RuntimeError("ill")

    backend = Restartable(open_)
    with pytest.raises(RuntimeError, match="ill"):
        backend.restart(ill)
    assert scripted.closed == ["a", "a"]
    backend.restart(well)
    backend.current()


def test_an_abandoned_one_is_not_closed_for_it_still_runs(
    open_: Callable[[], ScriptedBackend], scripted: type[ScriptedBackend]
) -> None:
    backend = Restartable(open_)
    lost = backend.current()
    assert backend.abandon(lost)
    backend.restart(well)
    assert scripted.closed == []
    fresh = backend.current()
    assert not backend.abandon(lost)  # by another run of it, which hangs too
    assert backend.current() is fresh
    backend.close()
    assert scripted.closed == ["a"]


def test_a_restart_that_comes_after_the_end_leaves_nothing_open(
    open_: Callable[[], ScriptedBackend], scripted: type[ScriptedBackend]
) -> None:
    backend = Restartable(open_)
    backend.close()
    backend.restart(well)
    assert scripted.closed == ["a", "a"]
