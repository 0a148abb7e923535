"""Batches, bounds, deadlines and failures, with a backend that does what its images say."""

import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from imaging.preprocess import Tensor
from service.catalogue.catalogue import Servable
from service.problems.client_errors import ClientGoneError, InvalidImageError, InvalidParameterError, QueueFullError
from service.problems.server_errors import BackendDownError, DeadlineError, InferenceError
from service.scheduling.engine import Engine
from service.scheduling.request_scope import RequestScope
from service.scheduling.variant_queue import Inferred
from service.telemetry.stopwatch import Stopwatch
from tests.service.scheduling.conftest import Play
from tests.service.scheduling.requests import MINUTE, ask, soon, until
from tests.service.scripted import HANG, NOT_A_NUMBER, POISON, ScriptedBackend, pixels

pytestmark = pytest.mark.slow

Make = Callable[[str], Servable]
Scripted = type[ScriptedBackend]


def reds_of(scripted: Scripted) -> list[list[int]]:
    return [reds for _, reds in scripted.batches]


def test_a_free_backend_gets_what_there_is_and_a_busy_one_collects(
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


def test_requests_of_several_images_are_not_torn_apart(play: Play, servable: Make, scripted: Scripted) -> None:
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


def test_a_full_queue_refuses_with_the_measured_time(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        waiting = [soon(engine, a) for _ in range(4)]
        await until(lambda: engine.load(a).admitted == 4)
        with pytest.raises(QueueFullError, match="4 images wait for colours/a/1, 4 may") as caught:
            await ask(engine, a)
        assert int(caught.value.headers["Retry-After"]) >= 1
        other = soon(engine, b)  # its queue is another one
        await until(lambda: engine.load(b).admitted == 1)
        scripted.gate.set()
        await asyncio.gather(first, *waiting, other)
        await ask(engine, a)

    play(scene, max_queue=4)


def test_who_has_left_holds_no_place_in_a_full_queue(play: Play, servable: Make, scripted: Scripted) -> None:
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


def test_who_has_left_before_the_queue_is_asked_is_told_why_and_not_that_it_is_full(
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


def test_time_that_was_waited_already_counts(play: Play) -> None:
    async def scene(_engine: Engine) -> None:
        for waited_ms in (MINUTE, MINUTE + 1):
            with RequestScope(MINUTE, waited_ms) as scope:
                assert isinstance(scope.refusal(), DeadlineError)
        with RequestScope(MINUTE, MINUTE - 50) as scope:
            assert scope.refusal() is None
            with pytest.raises(DeadlineError, match="60000 ms"):
                await asyncio.wait_for(scope.future(), 10)

    play(scene)


def test_a_full_waiting_room_for_decoding_refuses(play: Play, servable: Make) -> None:
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


def test_what_cannot_be_decoded_never_reaches_a_batch(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")

        def decode() -> Tensor:
            raise InvalidImageError("noise")

        with pytest.raises(InvalidImageError, match="noise"):
            await ask(engine, a, decode)
        assert engine.load(a).admitted == 0
        assert scripted.batches == []

    play(scene)


def test_a_deadline_that_passes_in_the_queue_is_told_at_once_and_never_run(
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


def test_a_client_that_has_gone_is_dropped_before_it_is_run(play: Play, servable: Make, scripted: Scripted) -> None:
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


def test_a_poisoned_image_fails_alone(
    play: Play, servable: Make, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        tasks = [soon(engine, a, red) for red in (1, POISON, 3)]
        await until(lambda: engine.load(a).admitted == 3)
        scripted.gate.set()
        await first
        good, bad, fine = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(good, Inferred)
        assert isinstance(fine, Inferred)
        assert (good.logits[0, 0], good.batch_size) == (1, 1)  # what it ran with in the end
        assert (fine.logits[0, 0], fine.batch_size) == (3, 1)
        assert isinstance(bad, InferenceError)
        assert "the script says so" not in bad.detail
        assert reds_of(scripted)[1:] == [[1, POISON, 3], [1], [POISON], [3]]
        with pytest.raises(InferenceError):
            await ask(engine, a, POISON)  # alone: the backend is asked whether it is well, and it is
        assert engine.restarting() == []

    play(scene)
    assert "the script says so" in caplog.text


def test_logits_that_are_not_numbers_fail_only_their_image(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a = servable("a")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        tasks = [soon(engine, a, red) for red in (1, NOT_A_NUMBER, 3)]
        await until(lambda: engine.load(a).admitted == 3)
        scripted.gate.set()
        await first
        good, bad, fine = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(good, Inferred)
        assert isinstance(fine, Inferred)
        assert good.batch_size == fine.batch_size == 3
        assert isinstance(bad, InferenceError)
        assert "not all finite" in bad.detail
        assert len(scripted.batches) == 2  # it is not run again

    play(scene)


@pytest.mark.usefixtures("caplog")
def test_a_crashed_backend_answers_503_and_is_replaced(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        scripted.broken.add("a")
        with pytest.raises(BackendDownError, match="colours/a/1 failed and is being restarted") as caught:
            await ask(engine, a)
        assert int(caught.value.headers["Retry-After"]) >= 1
        assert engine.restarting() == [a]
        with pytest.raises(BackendDownError):
            await ask(engine, a)
        assert (await ask(engine, b)).logits[0, 0] == 7  # the others are served
        await until(lambda: scripted.opened.count("a") > 2)  # a vain restart, and another attempt
        scripted.broken.clear()
        await until(lambda: engine.restarting() == [])
        assert (await ask(engine, a)).logits[0, 0] == 7
        assert scripted.closed.count("a") == scripted.opened.count("a") - 1

    play(scene)


@pytest.mark.usefixtures("caplog")
def test_a_hanging_backend_is_given_up_and_replaced(play: Play, servable: Make, scripted: Scripted) -> None:
    async def scene(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        first = soon(engine, a, HANG)
        await until(scripted.hanging)
        waiting = soon(engine, a, 1)
        other = soon(engine, b, 2)
        for task in (first, waiting):
            with pytest.raises(BackendDownError):
                await task
        assert (await other).logits[0, 0] == 2
        await until(lambda: engine.restarting() == [])
        assert (await ask(engine, a, 3)).logits[0, 0] == 3
        assert scripted.closed == []
        scripted.gate.set()  # the lost run returns, and closes what it ran
        await until(lambda: scripted.closed == ["a"])
        assert (await ask(engine, a, 4)).logits[0, 0] == 4

    play(scene, backend_timeout_ms=300)


@pytest.mark.usefixtures("caplog")
def test_a_mistake_of_ours_in_the_computing_thread_does_not_end_it(play: Play, servable: Make) -> None:
    class Broken(Stopwatch):
        def lap(self, stage: str) -> None:
            raise ZeroDivisionError(stage)

    async def scene(engine: Engine) -> None:
        a = servable("a")
        with pytest.raises(ZeroDivisionError):
            await ask(engine, a, watch=Broken())
        await until(lambda: engine.load(a).running == 0)
        assert (await ask(engine, a)).logits[0, 0] == 7

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
