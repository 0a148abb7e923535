"""Whose batch is next: queues with work take turns, one batch each, so that a hot one cannot starve the others."""

from collections import deque

from service.scheduling.variant_queue import Job, VariantQueue


class RoundRobin:
    """Queues in the order of their turns. The caller holds the lock.

    Args:
        delay: seconds that a batch waits for more images while it is not full; 0 dispatches what there is.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._queues: deque[VariantQueue] = deque()

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return sum(len(queue.waiting) for queue in self._queues)

    def add(self, job: Job, now: float) -> None:
        """Queue a job behind those of its queue; a queue that had none goes behind the other queues."""
        job.enqueued = now
        queue = job.queue
        if queue not in self._queues:
            self._queues.append(queue)
        queue.waiting.append(job)

    def next(self, now: float) -> tuple[VariantQueue | None, float | None]:
        """Return the queue whose turn it is, or how many seconds until one may be ready (None: until a job is added).

        A queue that is returned goes behind the others. One that has nothing left loses its turn.
        """
        soonest: float | None = None
        for _ in range(len(self._queues)):
            queue = self._queues.popleft()
            if not queue.waiting:
                continue
            self._queues.append(queue)
            left = self._seconds_left(queue, now)
            if left <= 0:
                return queue, None
            soonest = left if soonest is None else min(soonest, left)
        return None, soonest

    def _seconds_left(self, queue: VariantQueue, now: float) -> float:
        if not self._delay or sum(job.size for job in queue.waiting) >= queue.limit:
            return 0.0
        return queue.waiting[0].enqueued + self._delay - now
