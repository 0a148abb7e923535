"""Hanging decodes: abandoned at their time limit together with their thread, which is replaced."""

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial

import pytest

from service.catalogue.catalogue import Servable
from service.problems.server_errors import DeadlineError, DecodeTimeoutError, NotReadyError
from service.resources.abandoned import ABANDONED
from service.scheduling.engine import Engine
from service.scheduling.request_scope import RequestScope
from tests.service.scheduling.conftest import RAISES, HangingDecodes, RunScenario
from tests.service.scheduling.requests import MINUTE, infer, wait_until
from tests.service.scripted import ScriptedBackend, pixels

pytestmark = pytest.mark.slow

Make = Callable[[str], Servable]
Scripted = type[ScriptedBackend]

ALL_MODES = pytest.mark.parametrize(("threads", "on_cores"), [(1, True), (2, True), (1, False), (2, False)])


async def wait_until_ended() -> None:
    await wait_until(lambda: len(ABANDONED) == 0)


@ALL_MODES
def test_decodes_that_hang_on_every_thread_delay_others_until_the_time_limit_only(
    run_scenario: RunScenario,
    servable: Make,
    hanging: HangingDecodes,
    caplog: pytest.LogCaptureFixture,
    threads: int,
    on_cores: bool,
) -> None:
    async def scenario(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        tasks = await hanging.tasks(engine, a, threads)
        others = [
            asyncio.create_task(infer(engine, b, partial(lambda red: pixels(red)[None], red))) for red in range(4)
        ]
        for task in tasks:
            with pytest.raises(DecodeTimeoutError, match="longer than the allowed 200 ms"):
                await task
        answers = await asyncio.gather(*others)
        assert [answer.logits[0, 0] for answer in answers] == [0, 1, 2, 3]
        assert ABANDONED.alive()["decode"] == threads
        assert engine.load(a).admitted == 0
        assert engine.restarting() == []  # the backend has not failed
        hanging.gate.set()
        await wait_until_ended()

    run_scenario(scenario, threads=threads, on_cores=on_cores, decode_timeout_ms=200)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == threads
    assert all(error.startswith("abandoned after 0.2 s: the decode of colours/a/1") for error in errors)


def test_the_late_result_of_an_abandoned_decode_is_dropped(
    run_scenario: RunScenario, servable: Make, scripted: Scripted, hanging: HangingDecodes
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        for red in (99, RAISES):
            before = hanging.started
            task = asyncio.create_task(infer(engine, a, partial(hanging.decode, red)))
            await wait_until(lambda before=before: hanging.started == before + 1)  # type: ignore[misc]
            with pytest.raises(DecodeTimeoutError):
                await task
        hanging.gate.set()
        await wait_until_ended()
        await infer(engine, a, 1)
        assert [reds for _, reds in scripted.batches] == [[1]]
        assert (engine.load(a).admitted, engine.load(a).running) == (0, 0)

    run_scenario(scenario, threads=1, decode_timeout_ms=150)


def test_a_requests_earlier_deadline_applies_and_its_decode_is_abandoned_later(
    run_scenario: RunScenario, servable: Make, hanging: HangingDecodes
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        with pytest.raises(DeadlineError, match="within the allowed 20 ms"):
            await infer(engine, a, hanging.decode, timeout_ms=20)
        assert len(ABANDONED) == 0
        assert (await infer(engine, a, lambda: pixels(5)[None])).logits[0, 0] == 5
        assert len(ABANDONED) == 1
        hanging.gate.set()
        await wait_until_ended()

    run_scenario(scenario, threads=1, decode_timeout_ms=300)


def test_a_decode_within_its_limit_is_not_abandoned_after_the_requests_deadline(
    run_scenario: RunScenario, servable: Make, hanging: HangingDecodes
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        before = ABANDONED.recorded()
        with pytest.raises(DeadlineError):
            await infer(engine, a, hanging.decode, timeout_ms=20)
        await asyncio.sleep(0.6)  # two checks of the watchdog
        hanging.gate.set()
        assert (await infer(engine, a, lambda: pixels(5)[None])).logits[0, 0] == 5
        assert ABANDONED.recorded() == before

    run_scenario(scenario, threads=1, decode_timeout_ms=20_000)


def test_hanging_offloaded_work_is_abandoned(run_scenario: RunScenario, hanging: HangingDecodes) -> None:
    async def scenario(engine: Engine) -> None:
        with RequestScope(MINUTE) as scope:
            with pytest.raises(DecodeTimeoutError):
                await engine.offload(hanging.decode, scope)
            assert await engine.offload(lambda: 7, scope) == 7
        hanging.gate.set()
        await wait_until_ended()

    run_scenario(scenario, threads=1, decode_timeout_ms=150)


@pytest.mark.parametrize(("threads", "tolerated"), [(1, 2), (2, 2), (3, 3)])
def test_the_service_is_not_ready_while_as_many_threads_hang_as_it_has_cores(
    run_scenario: RunScenario, servable: Make, hanging: HangingDecodes, threads: int, tolerated: int
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        for count in range(tolerated):
            assert engine.shortage() is None, count
            (task,) = await hanging.tasks(engine, a, 1)
            with pytest.raises(DecodeTimeoutError):
                await task
        shortage = engine.shortage()
        assert shortage is not None
        assert shortage.startswith(f"{tolerated} threads hang in abandoned work")
        assert (await infer(engine, a, lambda: pixels(5)[None])).logits[0, 0] == 5  # requests are still served
        hanging.gate.set()
        await wait_until_ended()
        assert engine.shortage() is None

    run_scenario(scenario, threads=threads, on_cores=True, decode_timeout_ms=150)


@pytest.mark.parametrize("on_cores", [True, False])
def test_the_number_of_hanging_threads_is_limited(
    run_scenario: RunScenario, servable: Make, hanging: HangingDecodes, on_cores: bool
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        before = threading.active_count()
        for _ in range(9):  # 4 × 2 threads are replaced, the ninth is not
            (task,) = await hanging.tasks(engine, a, 1)
            with pytest.raises(DecodeTimeoutError):
                await task
        assert threading.active_count() == before + 8
        shortage = engine.shortage()
        assert shortage is not None
        assert shortage.startswith("no thread is left to decode images: 9 hang")
        with pytest.raises(NotReadyError, match="no thread is left to decode"):  # immediately, not at its deadline
            await infer(engine, a, lambda: pixels(5)[None])
        with RequestScope(MINUTE) as scope, pytest.raises(NotReadyError):
            await engine.offload(lambda: 7, scope)
        assert engine.load(a).admitted == 0
        hanging.gate.set()
        await wait_until_ended()
        assert engine.shortage() is None
        assert (await infer(engine, a, lambda: pixels(5)[None])).logits[0, 0] == 5
        assert threading.active_count() == before

    run_scenario(scenario, threads=1, on_cores=on_cores, decode_timeout_ms=150)


def test_a_retired_servable_does_not_wait_for_its_abandoned_decodes(
    run_scenario: RunScenario, servable: Make, scripted: Scripted, hanging: HangingDecodes
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        (task,) = await hanging.tasks(engine, a, 1)
        with pytest.raises(DecodeTimeoutError):
            await task
        await engine.retire(a)
        assert scripted.closed == ["a"]
        hanging.gate.set()
        await wait_until_ended()

    run_scenario(scenario, threads=1, decode_timeout_ms=150)


def test_threads_that_hang_when_the_engine_is_closed_are_recorded(
    run_scenario: RunScenario, servable: Make, hanging: HangingDecodes
) -> None:
    async def scenario(engine: Engine) -> None:
        (task,) = await hanging.tasks(engine, servable("a"), 1)
        engine.close()
        assert ABANDONED.alive()["decode"] == 1
        task.cancel()
        hanging.gate.set()
        await wait_until_ended()

    run_scenario(scenario, threads=1)
