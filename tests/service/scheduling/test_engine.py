"""Batches and the order among variants, with a backend that does what its images say."""

import asyncio
import threading
import time

import numpy as np
import pytest

from service.catalogue.catalogue import Servable
from service.problems.client_errors import InvalidParameterError
from service.scheduling.engine import Engine
from service.scheduling.request_scope import RequestScope
from service.scheduling.variant_queue import Inferred
from service.telemetry.stopwatch import Stopwatch
from tests.service.scheduling.conftest import Play
from tests.service.scheduling.requests import MINUTE, Make, Scripted, ask, reds_of, soon, until
from tests.service.scripted import HANG, pixels

pytestmark = pytest.mark.slow


def test_an_idle_backend_gets_waiting_images_at_once_and_a_busy_one_full_batches(
    play: Play, servable: Make, scripted: Scripted
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        rest = [soon(engine, a, red) for red in range(6)]
        await until(lambda: engine.load(a).admitted == 6)
        scripted.gate.set()
        answers = await asyncio.gather(first, *rest)
        assert [answer.batch_size for answer in answers] == [1, 4, 4, 4, 4, 2, 2]
        for red, answer in zip([HANG, *range(6)], answers, strict=True):
            np.testing.assert_array_equal(answer.logits, [[red, 1, 2, 3]])
        assert reds_of(scripted) == [[HANG], [0, 1, 2, 3], [4, 5]]

    play(scene, max_batch=4)


def test_where_runs_overlap_a_full_batch_runs_beside_another_and_a_smaller_one_waits(
    play: Play, servable: Make, scripted: Scripted
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        full = await asyncio.gather(*(soon(engine, a, red) for red in range(4)))
        assert [answer.batch_size for answer in full] == [4, 4, 4, 4]
        rest = [soon(engine, a, red) for red in range(3)]
        other = await soon(engine, servable("b"), 7)  # another variant's batch need not be full
        assert other.batch_size == 1
        assert engine.load(a).admitted == 3
        scripted.gate.set()
        await asyncio.gather(first, *rest)
        assert reds_of(scripted) == [[HANG], [0, 1, 2, 3], [7], [0, 1, 2]]

    play(scene, max_batch=4, overlaps=True)


def test_a_batch_is_no_larger_than_the_artifact_takes(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")  # takes 64
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        rest = [soon(engine, a, 1) for _ in range(70)]
        await until(lambda: engine.load(a).admitted == 70)
        scripted.gate.set()
        await asyncio.gather(first, *rest)
        assert [len(reds) for reds in reds_of(scripted)] == [1, 64, 6]

    play(scene, max_batch=1000)


def test_a_delay_that_is_configured_waits_for_more(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        answers = await asyncio.gather(*(ask(engine, a, red) for red in range(4)))
        assert [answer.batch_size for answer in answers] == [4, 4, 4, 4]  # full, long before the delay is over
        start = time.monotonic()
        assert (await ask(engine, a, 9)).batch_size == 1
        assert time.monotonic() - start >= 0.6

    play(scene, max_batch=4, batch_delay_ms=700)
    assert reds_of(scripted) == [[0, 1, 2, 3], [9]]


def test_a_request_of_several_images_is_not_split(play: Play, servable: Make, scripted: Scripted) -> None:
    async def several(engine: Engine, a: Servable, count: int) -> Inferred:
        with RequestScope(MINUTE) as scope:
            return await engine.infer(a, np.stack([pixels(count)] * count), scope, Stopwatch())

    async def scene(engine: Engine) -> None:
        a = servable("a")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        rest = [asyncio.create_task(several(engine, a, count)) for count in (2, 3, 1)]
        await until(lambda: engine.load(a).admitted == 6)
        scripted.gate.set()
        answers = await asyncio.gather(first, *rest)
        assert [(answer.logits.shape, answer.batch_size) for answer in answers[1:]] == [
            ((2, 4), 2),
            ((3, 4), 4),
            ((1, 4), 4),
        ]
        with pytest.raises(InvalidParameterError, match="5 images in one request, colours/a/1 takes at most 4"):
            await several(engine, a, 5)

    play(scene, max_batch=4)


def test_a_hot_variant_does_not_starve_the_others(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        hot, cold, cool = servable("hot"), servable("cold"), servable("cool")
        first = soon(engine, hot, HANG)
        await until(scripted.hanging)
        tasks = [soon(engine, hot) for _ in range(50)]
        await until(lambda: engine.load(hot).admitted == 50)
        tasks += [soon(engine, cold), soon(engine, cool), soon(engine, cold)]
        await until(lambda: engine.load(cold).admitted + engine.load(cool).admitted == 3)
        scripted.gate.set()
        await asyncio.gather(first, *tasks)
        order = [variant for variant, _ in scripted.batches]
        assert order[:4] == ["hot", "hot", "cold", "cool"]
        assert order[4:] == ["hot"] * 12

    play(scene, max_batch=4)


def test_a_batch_never_mixes_variants(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        variants = [servable(name) for name in "abc"]
        await asyncio.gather(*(ask(engine, variants[red % 3], red) for red in range(60)))
        for name, reds in scripted.batches:
            assert {"abc"[red % 3] for red in reds} == {name}

    play(scene)


def test_queue_is_the_time_from_enqueued_to_dispatched(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        watches = [Stopwatch(), Stopwatch()]
        first = asyncio.create_task(ask(engine, a, HANG, watch=watches[0]))
        await until(scripted.hanging)
        second = asyncio.create_task(ask(engine, a, 1, watch=watches[1]))
        await until(lambda: engine.load(a).admitted == 1)
        await asyncio.sleep(0.3)
        scripted.gate.set()
        await asyncio.gather(first, second)
        ran, waited = (watch.laps() for watch in watches)
        assert ran["inference"] >= 300_000
        assert ran["queue"] < 300_000
        assert waited["queue"] >= 300_000
        assert waited["inference"] < 300_000

    play(scene)


def test_offloaded_work_comes_back_or_raises(play: Play) -> None:
    async def scene(engine: Engine) -> None:
        with RequestScope(MINUTE) as scope:
            assert await engine.offload(lambda: threading.current_thread().name, scope) == "decode"
            with pytest.raises(ZeroDivisionError):
                await engine.offload(lambda: 1 // 0, scope)

    play(scene)


def test_a_retired_servable_is_closed_when_its_last_request_is_answered(
    play: Play, servable: Make, scripted: Scripted
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        retiring = asyncio.create_task(engine.retire(a))
        await asyncio.sleep(0.1)
        assert scripted.closed == []
        scripted.gate.set()
        await retiring
        assert (await first).logits[0, 0] == HANG
        assert scripted.closed == ["a"]

    play(scene)
