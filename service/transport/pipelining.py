"""Pipelined requests: one of all connections starts in each pass of the event loop.

uvicorn starts a connection's next request as soon as the one before is answered. Three hundred connections with
thousands of requests in their buffers then start three hundred in every pass, and another client's request, which takes
several passes, waits for as many each time.
"""

import asyncio
from collections import deque
from collections.abc import Callable


class Following:
    """Calls what is added in its order, one in each pass. On the event loop only."""

    def __init__(self) -> None:
        self._starts: deque[Callable[[], object]] = deque()

    def add(self, start: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        """Call `start` after all that were added before."""
        self._starts.append(start)
        if len(self._starts) == 1:
            loop.call_soon(self._call_next, loop)

    def _call_next(self, loop: asyncio.AbstractEventLoop) -> None:
        start = self._starts.popleft()
        if self._starts:
            loop.call_soon(self._call_next, loop)
        start()
