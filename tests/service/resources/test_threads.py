"""Check of the system's limit of threads before ONNX Runtime, which would hang, starts its own."""

import threading
from pathlib import Path

import pytest

from artifact import scan
from service.catalogue.loading import Loader
from service.problems.errors import ShortageError
from service.resources.threads import check_threads
from service.settings import Settings
from tests.service.artifacts import add_artifact

START = threading.Thread.start


@pytest.fixture(params=[0, 1, 3])
def _allowed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit of the checked threads that can be started."""
    left = request.param

    def start(thread: threading.Thread) -> None:
        nonlocal left
        if thread.name == "check":
            if not left:
                raise RuntimeError("can't start new thread")
            left -= 1
        START(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


def test_the_check_leaves_no_threads() -> None:
    before = threading.active_count()
    check_threads(3)
    assert threading.active_count() == before


@pytest.mark.usefixtures("_allowed")
def test_too_few_threads_are_an_error_that_leaves_none() -> None:
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        check_threads(4)
    assert threading.active_count() == before


@pytest.mark.usefixtures("_allowed")
def test_an_artifact_is_refused_for_the_shortage_instead_of_hanging(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    (location,) = scan(tmp_path)
    loader = Loader(Settings(repository=tmp_path, backend="onnxruntime", threads=5))
    with pytest.raises(ShortageError, match="can't start new thread; raise the limit of processes"):
        loader.open(location)
