import asyncio

from service.reloading.generations import Generations


def test_a_generation_has_passed_when_all_are_answered_that_came_in_it_or_before() -> None:
    async def scene() -> None:
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
        assert not two.done()  # the first is still inside, and may use what came before it was answered
        generations.leave(first)
        await asyncio.wait_for(asyncio.gather(one, two), 5)
        generations.leave(third)

    asyncio.run(scene())


def test_those_that_come_later_are_not_waited_for() -> None:
    async def scene() -> None:
        generations = Generations()
        task = asyncio.create_task(generations.passed())
        await asyncio.sleep(0)
        generations.enter()
        await asyncio.wait_for(task, 5)

    asyncio.run(scene())
