"""Waiting for a condition, with a time limit."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Poll a condition until it is true; fail after some seconds, more than a busy test machine needs."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition is false after {seconds:g} s"
        time.sleep(0.01)
