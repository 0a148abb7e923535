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
from tests.service.scheduling.conftest import Play
from tests.service.scheduling.requests import ask, soon, until
from tests.service.scripted import HANG, ScriptedBackend, pixels

pytestmark = pytest.mark.slow

Make = Callable[[str], Servable]
Scripted = type[ScriptedBackend]


@pytest.fixture
def played(play: Play) -> Play:
    return partial(play, on_cores=True)


async def two_that_hang(engine: Engine, servable: Servable, scripted: Scripted) -> list[asyncio.Task[Inferred]]:
    """Return the tasks of two runs, each on a thread of its own."""
    tasks = []
    for count in (1, 2):
        tasks.append(soon(engine, servable, HANG))
        await until(lambda count=count: len(scripted.batches) == count)  # type: ignore[misc]
    return tasks


def test_there_is_a_run_for_every_core_and_no_more(played: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        tasks = [soon(engine, a, HANG), soon(engine, b, HANG)]
        await until(lambda: len(scripted.batches) == 2)
        tasks += [soon(engine, b, red) for red in (1, 2)]
        await until(lambda: engine.load(b).admitted == 2)
        await asyncio.sleep(0.05)
        assert sorted(scripted.batches) == [("a", [HANG]), ("b", [HANG])]
        assert (engine.load(a).running, engine.load(b).running) == (1, 1)
        scripted.gate.set()
        answers = await asyncio.gather(*tasks)
        assert [answer.logits[0, 0] for answer in answers] == [HANG, HANG, 1, 2]
        assert scripted.batches[2:] == [("b", [1, 2])]  # what waited goes together

    played(scene, threads=2)


def test_a_run_is_spread_over_the_cores_that_have_nothing_else_to_do(
    played: Play, servable: Make, scripted: Scripted
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        tasks = [soon(engine, a, HANG)]
        await until(lambda: len(scripted.batches) == 1)
        tasks.append(soon(engine, a, HANG))
        await until(lambda: len(scripted.batches) == 2)
        tasks.append(soon(engine, a, HANG))
        await until(lambda: len(scripted.batches) == 3)
        assert scripted.spread == [True, True, False]  # 3 cores: only the third run takes the last of them
        scripted.gate.set()
        await asyncio.gather(*tasks)
        await ask(engine, a)
        assert scripted.spread[-1] is True

    played(scene, threads=3)


def test_what_waits_keeps_a_run_on_its_core(played: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        tasks = await two_that_hang(engine, a, scripted)
        tasks += [soon(engine, a, 1), soon(engine, b, 2), soon(engine, b, 3)]
        await until(lambda: engine.load(b).admitted == 2)
        scripted.gate.set()
        await asyncio.gather(*tasks)
        assert scripted.spread[2] is False  # one of two threads may be free, but b waits

    played(scene, threads=2)


def test_a_thread_runs_what_it_has_decoded_before_it_decodes_more(
    played: Play, servable: Make, scripted: Scripted
) -> None:
    events: list[str] = []

    def decode(red: int) -> Tensor:
        events.append(f"decoded {red}, after {len(scripted.batches)} runs on {threading.current_thread().name}")
        return pixels(red)[None]

    async def scene(engine: Engine) -> None:
        a = servable("a")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        rest = [asyncio.create_task(ask(engine, a, partial(decode, red))) for red in (1, 2, 3)]
        await until(lambda: engine.decoding == 3)
        scripted.gate.set()
        await asyncio.gather(first, *rest)
        assert events == [f"decoded {red}, after {red} runs on decode+run" for red in (1, 2, 3)]
        assert [reds for _, reds in scripted.batches] == [[HANG], [1], [2], [3]]

    played(scene, threads=1)


def test_tensors_that_keep_coming_do_not_hold_up_images_to_be_decoded(
    played: Play, servable: Make, scripted: Scripted
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        flood = [soon(engine, a, 1) for _ in range(20)]
        await until(lambda: engine.load(a).admitted == 20)
        runs: list[int] = []

        def decode() -> Tensor:
            runs.append(len(scripted.batches))
            return pixels(2)[None]

        image = asyncio.create_task(ask(engine, a, decode))
        await until(lambda: engine.decoding == 1)
        scripted.gate.set()
        await asyncio.gather(first, image, *flood)
        assert runs == [1]  # right after the run that was under way

    played(scene, threads=1, max_batch=1)


def test_a_hot_variant_does_not_hold_up_the_decoding_of_others(
    played: Play, servable: Make, scripted: Scripted
) -> None:
    order: list[str] = []

    def decode(name: str) -> Tensor:
        order.append(name)
        return pixels(1)[None]

    async def scene(engine: Engine) -> None:
        hot, cold = servable("hot"), servable("cold")
        first = soon(engine, hot, HANG)
        await until(scripted.hanging)
        tasks = [asyncio.create_task(ask(engine, hot, partial(decode, "hot"))) for _ in range(9)]
        await until(lambda: engine.decoding == 9)
        tasks.append(asyncio.create_task(ask(engine, cold, partial(decode, "cold"))))
        await until(lambda: engine.decoding == 10)
        scripted.gate.set()
        await asyncio.gather(first, *tasks)
        assert order == ["hot", "cold", *["hot"] * 8]

    played(scene, threads=1)


def test_many_runs_that_hang_hold_up_the_end_no_longer_than_one(
    played: Play, servable: Make, scripted: Scripted
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        tasks = []
        for count in range(1, 7):
            tasks.append(soon(engine, a, HANG))
            await until(lambda count=count: len(scripted.batches) == count)  # type: ignore[misc]
        start = time.monotonic()
        engine.close()
        assert time.monotonic() - start < 6  # a second for each would be 6
        for task in tasks:
            task.cancel()

    played(scene, threads=6)


@pytest.mark.usefixtures("caplog")
def test_two_runs_that_hang_in_one_backend_are_one_outage(played: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        for task in await two_that_hang(engine, a, scripted):
            with pytest.raises(BackendDownError):
                await task
        assert (await ask(engine, b, 2)).logits[0, 0] == 2  # both threads were replaced
        await until(lambda: engine.restarting() == [])
        assert (await ask(engine, a, 3)).logits[0, 0] == 3
        assert engine.load(a).restarts == 1
        await until(lambda: engine.load(a).running == 0)
        scripted.gate.set()  # both lost runs return
        await until(lambda: scripted.closed == ["a"])
        await asyncio.sleep(0.05)
        assert scripted.closed == ["a"]  # once
        assert (await ask(engine, a, 4)).logits[0, 0] == 4

    played(scene, threads=2, backend_timeout_ms=300)


@pytest.mark.usefixtures("caplog")
def test_a_late_hang_in_a_backend_that_was_replaced_leaves_the_new_one_alone(
    played: Play, servable: Make, scripted: Scripted
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        first = soon(engine, a, HANG)
        await until(lambda: len(scripted.batches) == 1)
        await asyncio.sleep(1.2)
        second = soon(engine, a, HANG)  # hangs in the same one, and is found to after the first was replaced
        await until(lambda: len(scripted.batches) == 2)
        with pytest.raises(BackendDownError):
            await first
        await until(lambda: engine.restarting() == [])
        with pytest.raises(BackendDownError):
            await second
        assert engine.restarting() == []
        assert scripted.opened == ["a", "a"]
        assert (await ask(engine, a, 3)).logits[0, 0] == 3

    played(scene, threads=2, backend_timeout_ms=1500)


def test_the_answers_are_those_of_their_images_however_many_threads_there_are(played: Play, servable: Make) -> None:
    async def scene(engine: Engine) -> None:
        variants = [servable(name) for name in "abc"]

        def decode(red: int) -> Tensor:
            return pixels(red)[None]

        answers = await asyncio.gather(
            *(ask(engine, variants[red % 3], red if red % 2 else partial(decode, red)) for red in range(200))
        )
        np.testing.assert_array_equal([answer.logits[0, 0] for answer in answers], range(200))

    played(scene, threads=4)


@pytest.mark.usefixtures("caplog")
def test_a_batch_that_was_taken_when_its_backend_is_abandoned_is_answered(
    played: Play, servable: Make, scripted: Scripted
) -> None:
    taken, given_up = threading.Event(), threading.Event()
    readings = iter(range(100))

    def clock() -> int:
        if next(readings) == 1:  # the lap between what is taken and its run
            taken.set()
            assert given_up.wait(10)
        return time.perf_counter_ns()

    async def scene(engine: Engine) -> None:
        a = servable("a")
        hanging = soon(engine, a, HANG)
        await until(scripted.hanging)
        late = asyncio.create_task(ask(engine, a, 5, watch=Stopwatch(clock)))
        await until(taken)
        with pytest.raises(BackendDownError):
            await hanging
        given_up.set()
        assert (await late).logits[0, 0] == 5

    played(scene, threads=2, backend_timeout_ms=300)
