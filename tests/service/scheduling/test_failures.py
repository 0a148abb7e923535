"""Images that fail alone, and backends that fail or hang and are restarted."""

import asyncio
import threading

import pytest

from imaging.preprocess import Tensor
from service.catalogue.catalogue import Servable
from service.problems.client_errors import InvalidImageError
from service.problems.server_errors import BackendDownError, InferenceError
from service.scheduling.engine import Engine
from service.scheduling.variant_queue import Inferred
from service.telemetry.stopwatch import Stopwatch
from tests.service.scheduling.conftest import RunScenario
from tests.service.scheduling.requests import Make, Scripted, infer, reds_of, start_hanging, start_request, wait_until
from tests.service.scripted import NOT_A_NUMBER, POISON, pixels

pytestmark = pytest.mark.slow


def test_an_image_that_cannot_be_decoded_never_reaches_a_batch(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")

        def decode() -> Tensor:
            raise InvalidImageError("noise")

        with pytest.raises(InvalidImageError, match="noise"):
            await infer(engine, a, decode)
        assert engine.load(a).admitted == 0
        assert scripted.batches == []

    run_scenario(scenario)


async def run_one_bad_image(
    engine: Engine, servable: Servable, scripted: Scripted, red: int
) -> tuple[Inferred, object, Inferred]:
    """Run a batch of three images, of which the second fails, and return the results of all."""
    first = await start_hanging(engine, servable, scripted)
    tasks = [start_request(engine, servable, each) for each in (1, red, 3)]
    await wait_until(lambda: engine.load(servable).admitted == 3)
    scripted.gate.set()
    await first
    good, bad, fine = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(good, Inferred)
    assert isinstance(fine, Inferred)
    return good, bad, fine


def test_a_poisoned_image_fails_alone(
    run_scenario: RunScenario, servable: Make, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        good, bad, fine = await run_one_bad_image(engine, a, scripted, POISON)
        assert (good.logits[0, 0], good.batch_size) == (1, 1)  # the batch size of its last run
        assert (fine.logits[0, 0], fine.batch_size) == (3, 1)
        assert isinstance(bad, InferenceError)
        assert "the script says so" not in bad.detail
        assert reds_of(scripted)[1:] == [[1, POISON, 3], [1], [POISON], [3]]
        with pytest.raises(InferenceError):
            await infer(engine, a, POISON)  # alone in its batch, so the backend is checked, and passes
        assert engine.restarting() == []

    run_scenario(scenario)
    assert "the script says so" in caplog.text


def test_logits_that_are_not_numbers_fail_only_their_image(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a = servable("a")
        good, bad, fine = await run_one_bad_image(engine, a, scripted, NOT_A_NUMBER)
        assert good.batch_size == fine.batch_size == 3
        assert isinstance(bad, InferenceError)
        assert "not all finite" in bad.detail
        assert len(scripted.batches) == 2  # the batch is not run again

    run_scenario(scenario)


@pytest.mark.usefixtures("caplog")
def test_requests_to_a_crashed_backend_are_503_until_it_is_restarted(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    decoded = threading.Event()

    def decode() -> Tensor:
        decoded.set()
        return pixels(7)[None]

    async def scenario(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        scripted.broken.add("a")
        with pytest.raises(BackendDownError, match="colours/a/1 failed and is being restarted") as caught:
            await infer(engine, a)
        assert int(caught.value.headers["Retry-After"]) >= 1
        assert engine.restarting() == [a]
        with pytest.raises(BackendDownError):
            await infer(engine, a, decode)
        assert not decoded.is_set()  # images for a failed backend are not decoded
        assert (await infer(engine, b)).logits[0, 0] == 7  # other variants are served
        await wait_until(lambda: scripted.opened.count("a") > 2)  # a failed restart, and another attempt
        scripted.broken.clear()
        await wait_until(lambda: engine.restarting() == [])
        assert (await infer(engine, a)).logits[0, 0] == 7
        assert scripted.closed.count("a") == scripted.opened.count("a") - 1

    run_scenario(scenario)


@pytest.mark.usefixtures("caplog")
def test_a_hanging_backend_is_abandoned_and_restarted(
    run_scenario: RunScenario, servable: Make, scripted: Scripted
) -> None:
    async def scenario(engine: Engine) -> None:
        a, b = servable("a"), servable("b")
        first = await start_hanging(engine, a, scripted)
        waiting = start_request(engine, a, 1)
        other = start_request(engine, b, 2)
        for task in (first, waiting):
            with pytest.raises(BackendDownError):
                await task
        assert (await other).logits[0, 0] == 2
        await wait_until(lambda: engine.restarting() == [])
        assert (await infer(engine, a, 3)).logits[0, 0] == 3
        assert scripted.closed == []
        scripted.gate.set()  # the abandoned run returns and closes its backend
        await wait_until(lambda: scripted.closed == ["a"])
        assert (await infer(engine, a, 4)).logits[0, 0] == 4

    run_scenario(scenario, backend_timeout_ms=300)


@pytest.mark.usefixtures("caplog")
def test_an_internal_error_does_not_end_the_worker_thread(run_scenario: RunScenario, servable: Make) -> None:
    class Broken(Stopwatch):
        def lap(self, stage: str) -> None:
            raise ZeroDivisionError(stage)

    async def scenario(engine: Engine) -> None:
        a = servable("a")
        with pytest.raises(ZeroDivisionError):
            await infer(engine, a, watch=Broken())
        await wait_until(lambda: engine.load(a).running == 0)
        assert (await infer(engine, a)).logits[0, 0] == 7

    run_scenario(scenario)
