"""Threads that the system does not allow: the start fails, and a hanging thread is replaced once there is room."""

import threading
from collections.abc import Callable

import pytest

from service.catalogue.catalogue import Servable
from service.problems.errors import ThreadsError
from service.problems.server_errors import DecodeTimeoutError, NotReadyError
from service.resources.abandoned import ABANDONED
from service.scheduling.engine import Engine
from tests.service.scheduling.conftest import HangingDecodes, RunScenario
from tests.service.scheduling.requests import infer, wait_until
from tests.service.scripted import pixels

START = threading.Thread.start


class ThreadLimit:
    """Limit of the worker threads that `threading.Thread.start` starts, as `ulimit -u` is one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        limit = self

        def start(thread: threading.Thread) -> None:
            if thread.name in {"decode", "run", "decode+run"}:
                if not limit.left:
                    raise RuntimeError("can't start new thread")
                limit.left -= 1
            START(thread)

        monkeypatch.setattr(threading.Thread, "start", start)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> ThreadLimit:
    return ThreadLimit(monkeypatch)


@pytest.mark.parametrize(("allowed", "on_cores"), [(0, True), (3, True), (3, False), (4, False)])
def test_a_start_with_too_many_threads_is_an_error_and_leaves_none(
    run_scenario: RunScenario, limit: ThreadLimit, allowed: int, on_cores: bool
) -> None:
    limit.left = allowed
    before = threading.active_count()

    async def scenario(_: Engine) -> None:
        raise AssertionError("the engine exists")

    with pytest.raises(ThreadsError, match="cannot start 4 threads: can't start new thread; lower --threads"):
        run_scenario(scenario, threads=4, on_cores=on_cores)
    assert threading.active_count() == before


@pytest.mark.parametrize("on_cores", [True, False])
def test_a_hanging_thread_is_replaced_as_soon_as_the_system_allows_it(
    run_scenario: RunScenario,
    servable: Callable[[str], Servable],
    hanging: HangingDecodes,
    limit: ThreadLimit,
    on_cores: bool,
) -> None:
    limit.left = 1 if on_cores else 2

    async def scenario(engine: Engine) -> None:
        a = servable("a")
        with pytest.raises(DecodeTimeoutError):
            await infer(engine, a, hanging.decode)
        with pytest.raises(NotReadyError, match="no thread is left to decode images"):
            await infer(engine, a, lambda: pixels(5)[None])
        limit.left = 2
        with pytest.raises(DecodeTimeoutError):  # the replacement hangs too: the watchdog is still there
            await infer(engine, a, hanging.decode)
        assert (await infer(engine, a, lambda: pixels(5)[None])).logits[0, 0] == 5
        hanging.gate.set()
        await wait_until(lambda: len(ABANDONED) == 0)

    run_scenario(scenario, threads=1, on_cores=on_cores, decode_timeout_ms=150)
