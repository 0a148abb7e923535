"""Decodes that do not return: abandoned at their limit, with the thread that is in them, which another one replaces."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from imaging.preprocess import Tensor
from service.catalogue.catalogue import Servable
from service.problems.server_errors import DeadlineError, DecodeTimeoutError, NotReadyError
from service.resources.abandoned import ABANDONED
from service.scheduling.engine import Engine
from service.scheduling.request_scope import RequestScope
from service.scheduling.variant_queue import Inferred
from tests.service.scheduling.conftest import Play
from tests.service.scheduling.requests import MINUTE, ask, until
from tests.service.scripted import PATIENCE, ScriptedBackend, pixels

pytestmark = pytest.mark.slow

Make = Callable[[str], Servable]
Scripted = type[ScriptedBackend]

RAISES = -1
EVERYWHERE = pytest.mark.parametrize(("threads", "on_cores"), [(1, True), (2, True), (1, False), (2, False)])


class Hanging:
    """Decodes that wait for a gate, and how many have begun to."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun = 0

    def decode(self, red: int = 99) -> Tensor:
        self.begun += 1
        assert self.gate.wait(PATIENCE)
        if red == RAISES:
            raise RuntimeError("the script says so")
        return pixels(red)[None]

    async def tasks(self, engine: Engine, servable: Servable, count: int) -> list[asyncio.Task[Inferred]]:
        """Return tasks of decodes that have begun, each on its thread: more than there are wait for the first."""
        before = self.begun
        tasks = [asyncio.create_task(ask(engine, servable, self.decode)) for _ in range(count)]
        await until(lambda: self.begun == before + count)
        return tasks


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    found = Hanging()
    yield found
    found.gate.set()


async def until_ended() -> None:
    await until(lambda: len(ABANDONED) == 0)


@EVERYWHERE
def test_decodes_that_hang_on_every_thread_hold_up_the_others_for_no_longer_than_their_limit(
    play: Play, servable: Make, hanging: Hanging, caplog: pytest.LogCaptureFixture, threads: int, on_cores: bool
) -> None:
    async def scene(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        tasks = await hanging.tasks(engine, a, threads)
        others = [asyncio.create_task(ask(engine, b, partial(lambda red: pixels(red)[None], red))) for red in range(4)]
        for task in tasks:
            with pytest.raises(DecodeTimeoutError, match="longer than the allowed 200 ms"):
                await task
        answers = await asyncio.gather(*others)
        assert [answer.logits[0, 0] for answer in answers] == [0, 1, 2, 3]
        assert ABANDONED.alive()["decode"] == threads
        assert engine.load(a).admitted == 0
        assert engine.restarting() == []  # the backend is not to blame
        hanging.gate.set()
        await until_ended()

    play(scene, threads=threads, on_cores=on_cores, decode_timeout_ms=200)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == threads
    assert all(error.startswith("abandoned after 0.2 s: the decode of colours/a/1") for error in errors)


def test_what_an_abandoned_decode_returns_at_last_is_dropped(
    play: Play, servable: Make, scripted: Scripted, hanging: Hanging
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        for red in (99, RAISES):
            before = hanging.begun
            task = asyncio.create_task(ask(engine, a, partial(hanging.decode, red)))
            await until(lambda before=before: hanging.begun == before + 1)  # type: ignore[misc]
            with pytest.raises(DecodeTimeoutError):
                await task
        hanging.gate.set()
        await until_ended()
        await ask(engine, a, 1)
        assert [reds for _, reds in scripted.batches] == [[1]]
        assert (engine.load(a).admitted, engine.load(a).running) == (0, 0)

    play(scene, threads=1, decode_timeout_ms=150)


def test_a_request_whose_own_deadline_is_sooner_gets_that_and_its_decode_is_abandoned_later(
    play: Play, servable: Make, hanging: Hanging
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        with pytest.raises(DeadlineError, match="within the allowed 20 ms"):
            await ask(engine, a, hanging.decode, timeout_ms=20)
        assert len(ABANDONED) == 0
        assert (await ask(engine, a, lambda: pixels(5)[None])).logits[0, 0] == 5
        assert len(ABANDONED) == 1
        hanging.gate.set()
        await until_ended()

    play(scene, threads=1, decode_timeout_ms=300)


def test_a_decode_within_its_limit_is_left_alone_whatever_its_caller_allowed(
    play: Play, servable: Make, hanging: Hanging
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        before = ABANDONED.recorded()
        with pytest.raises(DeadlineError):
            await ask(engine, a, hanging.decode, timeout_ms=20)
        await asyncio.sleep(0.6)  # two looks of the watchdog
        hanging.gate.set()
        assert (await ask(engine, a, lambda: pixels(5)[None])).logits[0, 0] == 5
        assert ABANDONED.recorded() == before

    play(scene, threads=1, decode_timeout_ms=20_000)


def test_offloaded_work_that_hangs_is_abandoned_too(play: Play, hanging: Hanging) -> None:
    async def scene(engine: Engine) -> None:
        with RequestScope(MINUTE) as scope:
            with pytest.raises(DecodeTimeoutError):
                await engine.offload(hanging.decode, scope)
            assert await engine.offload(lambda: 7, scope) == 7
        hanging.gate.set()
        await until_ended()

    play(scene, threads=1, decode_timeout_ms=150)


@pytest.mark.parametrize(("threads", "tolerated"), [(1, 2), (2, 2), (3, 3)])
def test_the_service_is_not_ready_while_as_many_threads_hang_as_there_are_cores(
    play: Play, servable: Make, hanging: Hanging, threads: int, tolerated: int
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        for count in range(tolerated):
            assert engine.shortage() is None, count
            (task,) = await hanging.tasks(engine, a, 1)
            with pytest.raises(DecodeTimeoutError):
                await task
        shortage = engine.shortage()
        assert shortage is not None
        assert shortage.startswith(f"{tolerated} threads hang in abandoned work")
        assert (await ask(engine, a, lambda: pixels(5)[None])).logits[0, 0] == 5  # slow is better than nothing
        hanging.gate.set()
        await until_ended()
        assert engine.shortage() is None

    play(scene, threads=threads, on_cores=True, decode_timeout_ms=150)


@pytest.mark.parametrize("on_cores", [True, False])
def test_threads_that_hang_are_bounded_and_those_that_come_back_are_replaced(
    play: Play, servable: Make, hanging: Hanging, on_cores: bool
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        before = threading.active_count()
        for _ in range(9):  # 4 × 2 are replaced, and the one that is left then is not
            (task,) = await hanging.tasks(engine, a, 1)
            with pytest.raises(DecodeTimeoutError):
                await task
        assert threading.active_count() == before + 8
        shortage = engine.shortage()
        assert shortage is not None
        assert shortage.startswith("no thread is left to decode images: 9 hang")
        with pytest.raises(NotReadyError, match="no thread is left to decode"):  # at once, not at its deadline
            await ask(engine, a, lambda: pixels(5)[None])
        with RequestScope(MINUTE) as scope, pytest.raises(NotReadyError):
            await engine.offload(lambda: 7, scope)
        assert engine.load(a).admitted == 0
        hanging.gate.set()
        await until_ended()
        assert engine.shortage() is None
        assert (await ask(engine, a, lambda: pixels(5)[None])).logits[0, 0] == 5
        assert threading.active_count() == before

    play(scene, threads=1, on_cores=on_cores, decode_timeout_ms=150)


def test_a_retired_servable_does_not_wait_for_its_abandoned_decodes(
    play: Play, servable: Make, scripted: Scripted, hanging: Hanging
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        (task,) = await hanging.tasks(engine, a, 1)
        with pytest.raises(DecodeTimeoutError):
            await task
        await engine.retire(a)
        assert scripted.closed == ["a"]
        hanging.gate.set()
        await until_ended()

    play(scene, threads=1, decode_timeout_ms=150)


def test_threads_that_hang_when_the_engine_is_closed_are_recorded(play: Play, servable: Make, hanging: Hanging) -> None:
    async def scene(engine: Engine) -> None:
        (task,) = await hanging.tasks(engine, servable("a"), 1)
        engine.close()
        assert ABANDONED.alive()["decode"] == 1
        task.cancel()
        hanging.gate.set()
        await until_ended()

    play(scene, threads=1)
