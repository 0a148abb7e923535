"""Service rate of a queue, measured while it has work, and the `Retry-After` that follows from it."""

import math

_WEIGHT = 0.2  # of the newest batch: about ten batches count, so a change of load shows within seconds
LONGEST = 60


class ServiceRate:
    """Seconds for an image, as an exponential moving average over batches. The caller holds the lock."""

    def __init__(self) -> None:
        self.seconds_per_image: float | None = None
        self._last = -math.inf

    def record(self, images: int, waiting_since: float, now: float) -> None:
        """Add a batch that ended now.

        Args:
            images: its number of images.
            waiting_since: time when the first of them was ready; the idle time before it is not counted.
            now: seconds of a monotonic clock.
        """
        seconds = (now - max(self._last, waiting_since)) / images
        self._last = now
        before = self.seconds_per_image
        self.seconds_per_image = seconds if before is None else before + _WEIGHT * (seconds - before)

    def retry_after(self, images: int) -> int:
        """Return the seconds, from 1 to LONGEST, until `images` will be done; 1 if nothing was measured."""
        seconds = (self.seconds_per_image or 0.0) * images
        return min(max(math.ceil(seconds), 1), LONGEST)
