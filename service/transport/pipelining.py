"""Start of pipelined requests: one of all connections in each pass of the event loop.

uvicorn starts a connection's next request when the previous one is answered. Three hundred connections with thousands
of buffered requests then start three hundred requests in every pass, and delay another client's request, which takes
several passes.
"""

import asyncio
from collections import deque
from collections.abc import Callable


class Following:
    """Queue of functions, of which one is called in each pass. Used on the event loop only."""

    def __init__(self) -> None:
        self._starts: deque[Callable[[], object]] = deque()

    def add(self, start: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        """Queue `start`."""
        self._starts.append(start)
        if len(self._starts) == 1:
            loop.call_soon(self._call_next, loop)

    def _call_next(self, loop: asyncio.AbstractEventLoop) -> None:
        start = self._starts.popleft()
        if self._starts:
            loop.call_soon(self._call_next, loop)
        start()
