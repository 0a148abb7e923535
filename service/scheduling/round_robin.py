"""Round-robin over queues with work, one batch per turn, so that a busy variant does not starve others."""

from collections import deque

from service.scheduling.variant_queue import Job, VariantQueue


class RoundRobin:
    """Queues in serving order. The caller holds the lock.

    Args:
        delay: seconds that an incomplete batch waits for more images; 0 dispatches immediately.
        full_beside_a_run: whether an incomplete batch waits while another batch of its queue runs.
    """

    def __init__(self, delay: float, *, full_beside_a_run: bool = False) -> None:
        self._delay = delay
        self._full_beside_a_run = full_beside_a_run
        self._queues: deque[VariantQueue] = deque()

    @property
    def waiting(self) -> int:
        """Number of jobs in all queues."""
        return sum(len(queue.waiting) for queue in self._queues)

    def add(self, job: Job, now: float) -> None:
        """Append a job to its queue; a queue that was empty becomes the last one."""
        job.enqueued = now
        queue = job.queue
        if queue not in self._queues:
            self._queues.append(queue)
        queue.waiting.append(job)

    def next(self, now: float) -> tuple[VariantQueue | None, float | None]:
        """Return the next queue, or the seconds until one may be ready (None: until a job is added or a run ends).

        A returned queue moves to the end of the order. An empty queue is removed.
        """
        soonest: float | None = None
        for _ in range(len(self._queues)):
            queue = self._queues.popleft()
            if not queue.waiting:
                continue
            self._queues.append(queue)
            left = self._seconds_left(queue, now)
            if left is None:
                continue
            if left <= 0:
                return queue, None
            soonest = left if soonest is None else min(soonest, left)
        return None, soonest

    def _seconds_left(self, queue: VariantQueue, now: float) -> float | None:
        """Return the seconds until a queue may be ready; None if it waits for the end of a run."""
        if sum(job.size for job in queue.waiting) >= queue.limit:
            return 0.0
        if self._full_beside_a_run and queue.running:
            return None
        return queue.waiting[0].enqueued + self._delay - now if self._delay else 0.0
