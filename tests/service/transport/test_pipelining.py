"""Start of requests that waited for earlier ones of their connection."""

import asyncio

from service.transport.pipelining import Following


def test_pipelined_requests_start_in_order_and_interleave_with_other_tasks() -> None:
    following, happened = Following(), list[str]()

    async def other() -> None:
        for step in range(3):
            happened.append(f"pass {step}")
            await asyncio.sleep(0)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number in range(3):
            following.add(lambda number=number: happened.append(f"start {number}"), loop)  # type: ignore[misc]
        await other()

    asyncio.run(run())
    assert [step for step in happened if step.startswith("start")] == ["start 0", "start 1", "start 2"]
    assert happened[:5] == ["pass 0", "start 0", "pass 1", "start 1", "pass 2"]


def test_a_start_may_queue_another_and_a_failing_one_does_not_stop_the_rest() -> None:
    following, happened = Following(), list[str]()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: happened.append(type(context["exception"]).__name__))

        def fails() -> None:
            following.add(lambda: happened.append("added"), loop)
            raise ValueError

        following.add(fails, loop)
        following.add(lambda: happened.append("next"), loop)
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert happened == ["ValueError", "next", "added"]
