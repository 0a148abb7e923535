"""Full queues, deadlines and disconnects, with the scripted backend."""

import asyncio
import threading

import pytest

from imaging.preprocess import Tensor
from service.problems.client_errors import ClientGoneError, QueueFullError
from service.problems.server_errors import DeadlineError
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


def test_a_full_queue_refuses_with_retry_after(run_scenario: RunScenario, servable: Make, scripted: Scripted) -> None:
    async def scenario(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        first = await start_hanging(engine, a, scripted)
        waiting = [start_request(engine, a) for _ in range(4)]
        await wait_until(lambda: engine.load(a).admitted == 4)
        with pytest.raises(QueueFullError, match="4 images wait for colours/a/1, the limit is 4") as caught:
            await infer(engine, a)
        assert int(caught.value.headers["Retry-After"]) >= 1
        other = start_request(engine, b)  # other variants have their own queue
        await wait_until(lambda: engine.load(b).admitted == 1)
        scripted.gate.set()
        await asyncio.gather(first, *waiting, other)
        await infer(engine, a)

    run_scenario(scenario, max_queue=4)


def test_an_ended_request_frees_its_place_in_a_full_queue(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        first = await start_hanging(engine, a, scripted)
        ended = [start_request(engine, a, red, timeout_ms=1) for red in range(4)]
        for one in ended:
            with pytest.raises(DeadlineError):
                await one
        last = start_request(engine, a, 9)
        await wait_until(lambda: engine.load(a).admitted == 1)
        scripted.gate.set()
        await asyncio.gather(first, last)
        assert reds_of(scripted) == [[HANG], [9]]  # the ended requests did not run

    run_scenario(scenario, max_queue=4)


def test_a_request_that_ended_before_admission_gets_its_own_error(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        first = await start_hanging(engine, a, scripted)
        second = start_request(engine, a)
        await wait_until(lambda: engine.load(a).admitted == 1)
        with RequestScope(1) as scope:
            await asyncio.sleep(0.01)
            with pytest.raises(DeadlineError):
                await engine.infer(a, pixels(1)[None], scope, Stopwatch())
        scripted.gate.set()
        await asyncio.gather(first, second)

    run_scenario(scenario, max_queue=1)


def test_earlier_waiting_time_counts_towards_the_deadline(run_scenario: RunScenario) -> None:
    async def scenario(_engine: Engine) -> None:
        for waited_ms in (MINUTE, MINUTE + 1):
            with RequestScope(MINUTE, waited_ms) as scope:
                assert isinstance(scope.refusal(), DeadlineError)
        with RequestScope(MINUTE, MINUTE - 50) as scope:
            assert scope.refusal() is None
            with pytest.raises(DeadlineError, match="60000 ms"):
                await asyncio.wait_for(scope.future(), 10)

    run_scenario(scenario)


def test_a_full_decode_queue_refuses(run_scenario: RunScenario, servable: Make) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        open_ = threading.Event()

        def decode() -> Tensor:
            assert open_.wait(20)
            return pixels(5)[None]

        tasks = [asyncio.create_task(infer(engine, a, decode)) for _ in range(2)]  # one for each thread
        await wait_until(lambda: engine.load(a).admitted == 2 and engine.decoding == 0)
        tasks += [asyncio.create_task(infer(engine, a, decode)) for _ in range(2)]
        await wait_until(lambda: engine.decoding == 2)
        with pytest.raises(QueueFullError, match="2 images wait to be decoded, the limit is 2"):
            await infer(engine, a, decode)
        assert engine.load(a).admitted == 4
        open_.set()
        for answer in await asyncio.gather(*tasks):
            assert answer.logits[0, 0] == 5

    run_scenario(scenario, max_decode_queue=2)


def test_a_request_whose_deadline_passes_in_the_queue_fails_immediately_and_does_not_run(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        first = await start_hanging(engine, a, scripted)
        with pytest.raises(DeadlineError, match="within the allowed 1 ms"):  # while the backend is still busy
            await infer(engine, a, 8, timeout_ms=1)
        scripted.gate.set()
        await first
        await infer(engine, a, 9)
        assert reds_of(scripted) == [[HANG], [9]]

    run_scenario(scenario)


def test_a_disconnected_request_is_dropped_before_it_runs(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        disconnected = asyncio.Event()

        async def receive() -> dict[str, str]:
            await disconnected.wait()
            return {"type": "http.disconnect"}

        async def infer_until_disconnected() -> Inferred:
            with RequestScope(MINUTE, receive=receive) as scope:
                return await engine.infer(a, pixels(8)[None], scope, Stopwatch())

        first = await start_hanging(engine, a, scripted)
        ended = asyncio.create_task(infer_until_disconnected())
        await wait_until(lambda: engine.load(a).admitted == 1)
        disconnected.set()
        with pytest.raises(ClientGoneError):
            await ended
        scripted.gate.set()
        await first
        await infer(engine, a, 9)
        assert reds_of(scripted) == [[HANG], [9]]

    run_scenario(scenario)
