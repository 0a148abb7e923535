"""Scheduling on the CPU's own cores: every thread decodes and runs."""

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from imaging.preprocess import Tensor
from service.catalogue.catalogue import Servable
from service.problems.server_errors import BackendDownError
from service.scheduling.engine import Engine
from service.scheduling.variant_queue import Inferred
from service.telemetry.stopwatch import Stopwatch
from tests.service.scheduling.conftest import RunScenario
from tests.service.scheduling.requests import infer, start_hanging, start_request, wait_until
from tests.service.scripted import HANG, ScriptedBackend, pixels

pytestmark = pytest.mark.slow

Make = Callable[[str], Servable]
Scripted = type[ScriptedBackend]


@pytest.fixture
def run_on_cores(run_scenario: RunScenario) -> RunScenario:
    return partial(run_scenario, on_cores=True)


async def start_two_hanging_runs(
    engine: Engine, servable: Servable, scripted: Scripted
) -> list[asyncio.Task[Inferred]]:
    """Return the tasks of two hanging runs, each on its own thread."""
    tasks = []
    for count in (1, 2):
        tasks.append(start_request(engine, servable, HANG))
        await wait_until(lambda count=count: len(scripted.batches) == count)  # type: ignore[misc]
    return tasks


def test_there_are_as_many_runs_as_cores(run_on_cores: RunScenario, servable: Make, scripted: Scripted) -> None:
    async def scenario(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        tasks = [start_request(engine, a, HANG), start_request(engine, b, HANG)]
        await wait_until(lambda: len(scripted.batches) == 2)
        tasks += [start_request(engine, b, red) for red in (1, 2)]
        await wait_until(lambda: engine.load(b).admitted == 2)
        await asyncio.sleep(0.05)
        assert sorted(scripted.batches) == [("a", [HANG]), ("b", [HANG])]
        assert (engine.load(a).running, engine.load(b).running) == (1, 1)
        scripted.gate.set()
        answers = await asyncio.gather(*tasks)
        assert [answer.logits[0, 0] for answer in answers] == [HANG, HANG, 1, 2]
        assert scripted.batches[2:] == [("b", [1, 2])]  # waiting requests form one batch

    run_on_cores(scenario, threads=2)


def test_a_run_is_spread_over_idle_cores(run_on_cores: RunScenario, servable: Make, scripted: Scripted) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        tasks = [start_request(engine, a, HANG)]
        await wait_until(lambda: len(scripted.batches) == 1)
        tasks.append(start_request(engine, a, HANG))
        await wait_until(lambda: len(scripted.batches) == 2)
        tasks.append(start_request(engine, a, HANG))
        await wait_until(lambda: len(scripted.batches) == 3)
        assert scripted.spread == [True, True, False]  # with 3 cores, the third run finds no idle one
        scripted.gate.set()
        await asyncio.gather(*tasks)
        await infer(engine, a)
        assert scripted.spread[-1] is True

    run_on_cores(scenario, threads=3)


def test_a_run_is_not_spread_while_other_requests_wait(
    run_on_cores: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        tasks = await start_two_hanging_runs(engine, a, scripted)
        tasks += [start_request(engine, a, 1), start_request(engine, b, 2), start_request(engine, b, 3)]
        await wait_until(lambda: engine.load(b).admitted == 2)
        scripted.gate.set()
        await asyncio.gather(*tasks)
        assert scripted.spread[2] is False  # one of two threads may be idle, but b waits

    run_on_cores(scenario, threads=2)


def test_a_thread_runs_a_decoded_image_before_it_decodes_another(
    run_on_cores: RunScenario, servable: Make, scripted: Scripted
) -> None:
    events: list[str] = []

    def decode(red: int) -> Tensor:
        events.append(f"decoded {red}, after {len(scripted.batches)} runs on {threading.current_thread().name}")
        return pixels(red)[None]

    async def scenario(engine: Engine) -> None:
        a = servable("a")
        first = await start_hanging(engine, a, scripted)
        rest = [asyncio.create_task(infer(engine, a, partial(decode, red))) for red in (1, 2, 3)]
        await wait_until(lambda: engine.decoding == 3)
        scripted.gate.set()
        await asyncio.gather(first, *rest)
        assert events == [f"decoded {red}, after {red} runs on decode+run" for red in (1, 2, 3)]
        assert [reds for _, reds in scripted.batches] == [[HANG], [1], [2], [3]]

    run_on_cores(scenario, threads=1)


def test_a_stream_of_tensors_does_not_delay_images_to_be_decoded(
    run_on_cores: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        first = await start_hanging(engine, a, scripted)
        flood = [start_request(engine, a, 1) for _ in range(20)]
        await wait_until(lambda: engine.load(a).admitted == 20)
        runs: list[int] = []

        def decode() -> Tensor:
            runs.append(len(scripted.batches))
            return pixels(2)[None]

        image = asyncio.create_task(infer(engine, a, decode))
        await wait_until(lambda: engine.decoding == 1)
        scripted.gate.set()
        await asyncio.gather(first, image, *flood)
        assert runs == [1]  # right after the run in progress

    run_on_cores(scenario, threads=1, max_batch=1)


def test_a_hot_variant_does_not_delay_the_decoding_of_others(
    run_on_cores: RunScenario, servable: Make, scripted: Scripted
) -> None:
    order: list[str] = []

    def decode(name: str) -> Tensor:
        order.append(name)
        return pixels(1)[None]

    async def scenario(engine: Engine) -> None:
        hot, cold = servable("hot"), servable("cold")
        first = await start_hanging(engine, hot, scripted)
        tasks = [asyncio.create_task(infer(engine, hot, partial(decode, "hot"))) for _ in range(9)]
        await wait_until(lambda: engine.decoding == 9)
        tasks.append(asyncio.create_task(infer(engine, cold, partial(decode, "cold"))))
        await wait_until(lambda: engine.decoding == 10)
        scripted.gate.set()
        await asyncio.gather(first, *tasks)
        assert order == ["hot", "cold", *["hot"] * 8]

    run_on_cores(scenario, threads=1)


def test_many_hanging_runs_delay_close_no_longer_than_one(
    run_on_cores: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        tasks = []
        for count in range(1, 7):
            tasks.append(start_request(engine, a, HANG))
            await wait_until(lambda count=count: len(scripted.batches) == count)  # type: ignore[misc]
        start = time.monotonic()
        engine.close()
        assert time.monotonic() - start < 6  # a second for each would be 6
        for task in tasks:
            task.cancel()

    run_on_cores(scenario, threads=6)


@pytest.mark.usefixtures("caplog")
def test_two_hanging_runs_of_one_backend_cause_one_restart(
    run_on_cores: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        for task in await start_two_hanging_runs(engine, a, scripted):
            with pytest.raises(BackendDownError):
                await task
        assert (await infer(engine, b, 2)).logits[0, 0] == 2  # both threads were replaced
        await wait_until(lambda: engine.restarting() == [])
        assert (await infer(engine, a, 3)).logits[0, 0] == 3
        assert engine.load(a).restarts == 1
        await wait_until(lambda: engine.load(a).running == 0)
        scripted.gate.set()  # both abandoned runs return
        await wait_until(lambda: scripted.closed == ["a"])
        await asyncio.sleep(0.05)
        assert scripted.closed == ["a"]  # once
        assert (await infer(engine, a, 4)).logits[0, 0] == 4

    run_on_cores(scenario, threads=2, backend_timeout_ms=300)


@pytest.mark.usefixtures("caplog")
def test_a_late_hang_in_a_replaced_backend_does_not_affect_the_new_one(
    run_on_cores: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        first = start_request(engine, a, HANG)
        await wait_until(lambda: len(scripted.batches) == 1)
        await asyncio.sleep(1.2)
        second = start_request(engine, a, HANG)  # hangs in the same backend, and is detected after its replacement
        await wait_until(lambda: len(scripted.batches) == 2)
        with pytest.raises(BackendDownError):
            await first
        await wait_until(lambda: engine.restarting() == [])
        with pytest.raises(BackendDownError):
            await second
        assert engine.restarting() == []
        assert scripted.opened == ["a", "a"]
        assert (await infer(engine, a, 3)).logits[0, 0] == 3

    run_on_cores(scenario, threads=2, backend_timeout_ms=1500)


def test_every_image_gets_its_own_logits_with_many_threads(run_on_cores: RunScenario, servable: Make) -> None:
    async def scenario(engine: Engine) -> None:
        variants = [servable(name) for name in "abc"]

        def decode(red: int) -> Tensor:
            return pixels(red)[None]

        answers = await asyncio.gather(
            *(infer(engine, variants[red % 3], red if red % 2 else partial(decode, red)) for red in range(200))
        )
        np.testing.assert_array_equal([answer.logits[0, 0] for answer in answers], range(200))

    run_on_cores(scenario, threads=4)


@pytest.mark.usefixtures("caplog")
def test_a_batch_taken_before_its_backend_is_abandoned_is_completed(
    run_on_cores: RunScenario, servable: Make, scripted: Scripted
) -> None:
    taken, abandoned = threading.Event(), threading.Event()
    readings = iter(range(100))

    def clock() -> int:
        if next(readings) == 1:  # the lap between dequeuing and the run
            taken.set()
            assert abandoned.wait(10)
        return time.perf_counter_ns()

    async def scenario(engine: Engine) -> None:
        a = servable("a")
        hanging = start_request(engine, a, HANG)
        await wait_until(scripted.hanging)
        late = asyncio.create_task(infer(engine, a, 5, watch=Stopwatch(clock)))
        await wait_until(taken)
        with pytest.raises(BackendDownError):
            await hanging
        abandoned.set()
        assert (await late).logits[0, 0] == 5

    run_on_cores(scenario, threads=2, backend_timeout_ms=300)
