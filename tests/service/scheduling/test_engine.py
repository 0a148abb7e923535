"""Batches and the order of variants, with the scripted backend."""

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
from tests.service.scheduling.conftest import RunScenario
from tests.service.scheduling.requests import (
    MINUTE,
    Make,
    Scripted,
    infer,
    reds_of,
    start_hanging,
    start_request,
    wait_until,
)
from tests.service.scripted import HANG, pixels

pytestmark = pytest.mark.slow


def test_an_idle_backend_runs_an_image_immediately_and_a_busy_one_collects_batches(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        first = await start_hanging(engine, a, scripted)
        rest = [start_request(engine, a, red) for red in range(6)]
        await wait_until(lambda: engine.load(a).admitted == 6)
        scripted.gate.set()
        answers = await asyncio.gather(first, *rest)
        assert [answer.batch_size for answer in answers] == [1, 4, 4, 4, 4, 2, 2]
        for red, answer in zip([HANG, *range(6)], answers, strict=True):
            np.testing.assert_array_equal(answer.logits, [[red, 1, 2, 3]])
        assert reds_of(scripted) == [[HANG], [0, 1, 2, 3], [4, 5]]

    run_scenario(scenario, max_batch=4)


def test_with_overlapping_runs_a_full_batch_runs_beside_another_and_a_smaller_one_waits(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        first = await start_hanging(engine, a, scripted)
        full = await asyncio.gather(*(start_request(engine, a, red) for red in range(4)))
        assert [answer.batch_size for answer in full] == [4, 4, 4, 4]
        rest = [start_request(engine, a, red) for red in range(3)]
        other = await start_request(engine, servable("b"), 7)  # a batch of another variant need not be full
        assert other.batch_size == 1
        assert engine.load(a).admitted == 3
        scripted.gate.set()
        await asyncio.gather(first, *rest)
        assert reds_of(scripted) == [[HANG], [0, 1, 2, 3], [7], [0, 1, 2]]

    run_scenario(scenario, max_batch=4, overlaps=True)


def test_a_batch_is_at_most_the_artifacts_maximum(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")  # the artifact's maximum is 64
        first = await start_hanging(engine, a, scripted)
        rest = [start_request(engine, a, 1) for _ in range(70)]
        await wait_until(lambda: engine.load(a).admitted == 70)
        scripted.gate.set()
        await asyncio.gather(first, *rest)
        assert [len(reds) for reds in reds_of(scripted)] == [1, 64, 6]

    run_scenario(scenario, max_batch=1000)


def test_a_configured_batch_delay_waits_for_more_images(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        answers = await asyncio.gather(*(infer(engine, a, red) for red in range(4)))
        assert [answer.batch_size for answer in answers] == [4, 4, 4, 4]  # full, long before the delay ends
        start = time.monotonic()
        assert (await infer(engine, a, 9)).batch_size == 1
        assert time.monotonic() - start >= 0.6

    run_scenario(scenario, max_batch=4, batch_delay_ms=700)
    assert reds_of(scripted) == [[0, 1, 2, 3], [9]]


def test_a_request_of_several_images_is_not_split(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def several(engine: Engine, a: Servable, count: int) -> Inferred:
        with RequestScope(MINUTE) as scope:
            return await engine.infer(a, np.stack([pixels(count)] * count), scope, Stopwatch())

    async def scenario(engine: Engine) -> None:
        a = servable("a")
        first = await start_hanging(engine, a, scripted)
        rest = [asyncio.create_task(several(engine, a, count)) for count in (2, 3, 1)]
        await wait_until(lambda: engine.load(a).admitted == 6)
        scripted.gate.set()
        answers = await asyncio.gather(first, *rest)
        assert [(answer.logits.shape, answer.batch_size) for answer in answers[1:]] == [
            ((2, 4), 2),
            ((3, 4), 4),
            ((1, 4), 4),
        ]
        with pytest.raises(InvalidParameterError, match="5 images in one request, colours/a/1 takes at most 4"):
            await several(engine, a, 5)

    run_scenario(scenario, max_batch=4)


def test_a_hot_variant_does_not_starve_the_others(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        hot, cold, cool = servable("hot"), servable("cold"), servable("cool")
        first = await start_hanging(engine, hot, scripted)
        tasks = [start_request(engine, hot) for _ in range(50)]
        await wait_until(lambda: engine.load(hot).admitted == 50)
        tasks += [start_request(engine, cold), start_request(engine, cool), start_request(engine, cold)]
        await wait_until(lambda: engine.load(cold).admitted + engine.load(cool).admitted == 3)
        scripted.gate.set()
        await asyncio.gather(first, *tasks)
        order = [variant for variant, _ in scripted.batches]
        assert order[:4] == ["hot", "hot", "cold", "cool"]
        assert order[4:] == ["hot"] * 12

    run_scenario(scenario, max_batch=4)


def test_a_batch_never_mixes_variants(run_scenario: RunScenario, servable: Make, scripted: Scripted) -> None:
    async def scenario(engine: Engine) -> None:
        variants = [servable(name) for name in "abc"]
        await asyncio.gather(*(infer(engine, variants[red % 3], red) for red in range(60)))
        for name, reds in scripted.batches:
            assert {"abc"[red % 3] for red in reds} == {name}

    run_scenario(scenario)


def test_queue_time_is_the_time_from_enqueue_to_dispatch(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        watches = [Stopwatch(), Stopwatch()]
        first = asyncio.create_task(infer(engine, a, HANG, watch=watches[0]))
        await wait_until(scripted.hanging)
        second = asyncio.create_task(infer(engine, a, 1, watch=watches[1]))
        await wait_until(lambda: engine.load(a).admitted == 1)
        await asyncio.sleep(0.3)
        scripted.gate.set()
        await asyncio.gather(first, second)
        ran, waited = (watch.laps() for watch in watches)
        assert ran["inference"] >= 300_000
        assert ran["queue"] < 300_000
        assert waited["queue"] >= 300_000
        assert waited["inference"] < 300_000

    run_scenario(scenario)


def test_offloaded_work_returns_its_result_or_raises(run_scenario: RunScenario) -> None:
    async def scenario(engine: Engine) -> None:
        with RequestScope(MINUTE) as scope:
            assert await engine.offload(lambda: threading.current_thread().name, scope) == "decode"
            with pytest.raises(ZeroDivisionError):
                await engine.offload(lambda: 1 // 0, scope)

    run_scenario(scenario)


def test_a_retired_servable_is_closed_after_its_last_request(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        first = await start_hanging(engine, a, scripted)
        retiring = asyncio.create_task(engine.retire(a))
        await asyncio.sleep(0.1)
        assert scripted.closed == []
        scripted.gate.set()
        await retiring
        assert (await first).logits[0, 0] == HANG
        assert scripted.closed == ["a"]

    run_scenario(scenario)
