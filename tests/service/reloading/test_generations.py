"""Generations of requests, which a replaced version waits for."""

import asyncio

from service.reloading.generations import Generations


def test_a_generation_passes_when_its_requests_and_earlier_ones_have_completed() -> None:
    async def scenario() -> None:
        generations = Generations()
        first = generations.enter()
        one = asyncio.create_task(generations.passed())
        await asyncio.sleep(0)
        second = generations.enter()
        assert second != first
        two = asyncio.create_task(generations.passed())
        await asyncio.sleep(0)
        third = generations.enter()
        generations.leave(second)
        await asyncio.sleep(0.1)
        assert not one.done()
        assert not two.done()  # the first request is still running, and may use older versions
        generations.leave(first)
        await asyncio.wait_for(asyncio.gather(one, two), 5)
        generations.leave(third)

    asyncio.run(scenario())


def test_later_requests_are_not_waited_for() -> None:
    async def scenario() -> None:
        generations = Generations()
        task = asyncio.create_task(generations.passed())
        await asyncio.sleep(0)
        generations.enter()
        await asyncio.wait_for(task, 5)

    asyncio.run(scenario())
