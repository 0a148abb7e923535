"""Service rate of a queue, measured while it has work, and the resulting `Retry-After`."""

import math

_WEIGHT = 0.2  # weight of the newest batch: about ten batches count, so a change of load shows within seconds
LONGEST = 60


class ServiceRate:
    """Seconds per image, as an exponential moving average over batches. The caller holds the lock."""

    def __init__(self) -> None:
        self.seconds_per_image: float | None = None
        self._last = -math.inf

    def record(self, images: int, waiting_since: float, now: float) -> None:
        """Record a finished batch.

        Args:
            images: number of images.
            waiting_since: time when the first image was ready; idle time before it does not count.
            now: monotonic time in s.
        """
        seconds = (now - max(self._last, waiting_since)) / images
        self._last = now
        before = self.seconds_per_image
        self.seconds_per_image = seconds if before is None else before + _WEIGHT * (seconds - before)

    def retry_after(self, images: int) -> int:
        """Return the estimated seconds, from 1 to LONGEST, for `images`; 1 without measurements."""
        seconds = (self.seconds_per_image or 0.0) * images
        return min(max(math.ceil(seconds), 1), LONGEST)
