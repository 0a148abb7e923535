"""Images that fail alone, and backends that fail or hang and are replaced."""

import asyncio
import threading

import pytest

from imaging.preprocess import Tensor
from service.problems.client_errors import InvalidImageError
from service.problems.server_errors import BackendDownError, InferenceError
from service.scheduling.engine import Engine
from service.scheduling.variant_queue import Inferred
from service.telemetry.stopwatch import Stopwatch
from tests.service.scheduling.conftest import Play
from tests.service.scheduling.requests import Make, Scripted, ask, reds_of, soon, until
from tests.service.scripted import HANG, NOT_A_NUMBER, POISON, pixels

pytestmark = pytest.mark.slow


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
    decoded = threading.Event()

    def decode() -> Tensor:
        decoded.set()
        return pixels(7)[None]

    async def scene(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        scripted.broken.add("a")
        with pytest.raises(BackendDownError, match="colours/a/1 failed and is being restarted") as caught:
            await ask(engine, a)
        assert int(caught.value.headers["Retry-After"]) >= 1
        assert engine.restarting() == [a]
        with pytest.raises(BackendDownError):
            await ask(engine, a, decode)
        assert not decoded.is_set()  # nothing is decoded for a backend that is down
        assert (await ask(engine, b)).logits[0, 0] == 7  # the others are served
        await until(lambda: scripted.opened.count("a") > 2)  # a vain restart, and another attempt
        scripted.broken.clear()
        await until(lambda: engine.restarting() == [])
        assert (await ask(engine, a)).logits[0, 0] == 7
        assert scripted.closed.count("a") == scripted.opened.count("a") - 1

    play(scene)


@pytest.mark.usefixtures("caplog")
def test_a_hanging_backend_is_abandoned_and_replaced(play: Play, servable: Make, scripted: Scripted) -> None:
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
def test_an_internal_error_does_not_end_the_worker_thread(play: Play, servable: Make) -> None:
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
