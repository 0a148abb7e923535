"""Decode queue: round-robin among variants, capacity, and Retry-After."""

import pytest

from service.problems.client_errors import QueueFullError
from service.scheduling.decoding import Decode, DecodeQueue

NoResult = Decode[None]


def take_all(queue: DecodeQueue) -> list[NoResult]:
    return [item[0] for item in iter(queue.take, None)]


def work() -> NoResult:
    return Decode("no-op", lambda: None, lambda _outcome: None)


def test_work_is_taken_round_robin_among_owners_in_order() -> None:
    queue = DecodeQueue(room=10)
    hot, cold, cool = [work() for _ in range(4)], [work() for _ in range(2)], [work()]
    for owner, works in (("hot", hot), ("cold", cold), ("cool", cool)):
        for one in works:
            queue.put(owner, one)
    assert len(queue) == 7
    assert take_all(queue) == [hot[0], cold[0], cool[0], hot[1], cold[1], hot[2], hot[3]]
    assert len(queue) == 0


def test_a_returning_owner_is_queued_after_the_waiting_ones() -> None:
    queue = DecodeQueue(room=10)
    first, second, third, fourth = (work() for _ in range(4))
    queue.put("a", first)
    queue.put("b", second)
    assert queue.take()[0] is first  # type: ignore[index]
    queue.put("a", third)
    queue.put("b", fourth)
    assert take_all(queue) == [second, third, fourth]


def test_the_capacity_is_shared_by_all_owners() -> None:
    queue = DecodeQueue(room=2)
    queue.put("a", work())
    queue.put("b", work())
    with pytest.raises(QueueFullError, match="2 images wait to be decoded, the limit is 2") as caught:
        queue.put("c", work())
    assert caught.value.headers["Retry-After"] == "1"  # no measurement yet
    queue.take()
    queue.put("c", work())


def test_retry_after_is_the_measured_time_of_earlier_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("service.scheduling.decoding.time.monotonic", lambda: now)
    queue = DecodeQueue(room=3)
    queue.put("a", work())
    _, put = queue.take()  # type: ignore[misc]
    now = 104.0
    queue.done(put)
    for _ in range(3):
        queue.put("a", work())
    with pytest.raises(QueueFullError) as caught:
        queue.put("a", work())
    assert caught.value.headers["Retry-After"] == "12"
