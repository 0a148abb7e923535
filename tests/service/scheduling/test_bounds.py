"""Full queues, deadlines and clients that disconnect, with a backend that does what its images say."""

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
from tests.service.scheduling.conftest import Play
from tests.service.scheduling.requests import MINUTE, Make, Scripted, ask, reds_of, soon, until
from tests.service.scripted import HANG, pixels

pytestmark = pytest.mark.slow


def test_a_full_queue_refuses_with_the_measured_time(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        waiting = [soon(engine, a) for _ in range(4)]
        await until(lambda: engine.load(a).admitted == 4)
        with pytest.raises(QueueFullError, match="4 images wait for colours/a/1, the limit is 4") as caught:
            await ask(engine, a)
        assert int(caught.value.headers["Retry-After"]) >= 1
        other = soon(engine, b)  # its queue is another one
        await until(lambda: engine.load(b).admitted == 1)
        scripted.gate.set()
        await asyncio.gather(first, *waiting, other)
        await ask(engine, a)

    play(scene, max_queue=4)


def test_an_ended_request_holds_no_place_in_a_full_queue(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        gone = [soon(engine, a, red, timeout_ms=1) for red in range(4)]
        for one in gone:
            with pytest.raises(DeadlineError):
                await one
        last = soon(engine, a, 9)
        await until(lambda: engine.load(a).admitted == 1)
        scripted.gate.set()
        await asyncio.gather(first, last)
        assert reds_of(scripted) == [[HANG], [9]]  # and was not run

    play(scene, max_queue=4)


def test_a_request_that_ended_before_admission_gets_its_own_error(
    play: Play, servable: Make, scripted: Scripted
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        second = soon(engine, a)
        await until(lambda: engine.load(a).admitted == 1)
        with RequestScope(1) as scope:
            await asyncio.sleep(0.01)
            with pytest.raises(DeadlineError):
                await engine.infer(a, pixels(1)[None], scope, Stopwatch())
        scripted.gate.set()
        await asyncio.gather(first, second)

    play(scene, max_queue=1)


def test_time_waited_before_counts_towards_the_deadline(play: Play) -> None:
    async def scene(_engine: Engine) -> None:
        for waited_ms in (MINUTE, MINUTE + 1):
            with RequestScope(MINUTE, waited_ms) as scope:
                assert isinstance(scope.refusal(), DeadlineError)
        with RequestScope(MINUTE, MINUTE - 50) as scope:
            assert scope.refusal() is None
            with pytest.raises(DeadlineError, match="60000 ms"):
                await asyncio.wait_for(scope.future(), 10)

    play(scene)


def test_a_full_decode_queue_refuses(play: Play, servable: Make) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        open_ = threading.Event()

        def decode() -> Tensor:
            assert open_.wait(20)
            return pixels(5)[None]

        tasks = [asyncio.create_task(ask(engine, a, decode)) for _ in range(2)]  # one for each thread
        await until(lambda: engine.load(a).admitted == 2 and engine.decoding == 0)
        tasks += [asyncio.create_task(ask(engine, a, decode)) for _ in range(2)]
        await until(lambda: engine.decoding == 2)
        with pytest.raises(QueueFullError, match="2 images wait to be decoded, the limit is 2"):
            await ask(engine, a, decode)
        assert engine.load(a).admitted == 4
        open_.set()
        for answer in await asyncio.gather(*tasks):
            assert answer.logits[0, 0] == 5

    play(scene, max_decode_queue=2)


def test_a_request_whose_deadline_passes_in_the_queue_fails_at_once_and_is_not_run(
    play: Play, servable: Make, scripted: Scripted
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        with pytest.raises(DeadlineError, match="within the allowed 1 ms"):  # while the backend is still busy
            await ask(engine, a, 8, timeout_ms=1)
        scripted.gate.set()
        await first
        await ask(engine, a, 9)
        assert reds_of(scripted) == [[HANG], [9]]

    play(scene)


def test_a_disconnected_request_is_dropped_before_it_is_run(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        hung_up = asyncio.Event()

        async def receive() -> dict[str, str]:
            await hung_up.wait()
            return {"type": "http.disconnect"}

        async def impatient() -> Inferred:
            with RequestScope(MINUTE, receive=receive) as scope:
                return await engine.infer(a, pixels(8)[None], scope, Stopwatch())

        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        gone = asyncio.create_task(impatient())
        await until(lambda: engine.load(a).admitted == 1)
        hung_up.set()
        with pytest.raises(ClientGoneError):
            await gone
        scripted.gate.set()
        await first
        await ask(engine, a, 9)
        assert reds_of(scripted) == [[HANG], [9]]

    play(scene)
