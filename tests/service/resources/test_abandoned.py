"""Count of abandoned threads."""

import asyncio
import threading

import pytest

from service.resources.abandoned import AbandonedThreads
from service.resources.background import aside


def test_an_abandoned_thread_is_counted_once_until_it_ends() -> None:
    abandoned, gate = AbandonedThreads(), threading.Event()
    threads = [threading.Thread(target=gate.wait, args=(20,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert len(abandoned) == 0
    abandoned.record(threads[0], "decode")
    abandoned.record(threads[0], "load")
    abandoned.record(threads[1], "run")
    assert (len(abandoned), abandoned.alive()) == (2, {"decode": 1, "run": 1, "load": 0})
    gate.set()
    for thread in threads:
        thread.join()
    assert (len(abandoned), abandoned.alive()) == (0, {"decode": 0, "run": 0, "load": 0})
    assert abandoned.recorded() == {"decode": 1, "run": 1, "load": 0}


def test_cancelling_background_work_abandons_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    abandoned, gate = AbandonedThreads(), threading.Event()
    monkeypatch.setattr("service.resources.background.ABANDONED", abandoned)

    async def run() -> None:
        task = asyncio.create_task(aside(lambda: gate.wait(20)))
        await asyncio.sleep(0.01)
        assert len(abandoned) == 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert abandoned.alive()["load"] == 1
        gate.set()
        assert await aside(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await aside(lambda: 1 // 0)

    asyncio.run(run())
    assert abandoned.recorded()["load"] == 1
