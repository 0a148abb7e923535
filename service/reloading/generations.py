"""Generations of requests: a replaced version is closed after the last request that may use it.

A request may look up a version at any time, and use it until it is answered. A replaced version can be closed when
every request that arrived before the replacement is answered.
"""

import asyncio
from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

_PAUSE = 0.02  # seconds between two checks


class Generations:
    """Counts requests by generation. Used on the event loop only."""

    def __init__(self) -> None:
        self._number = 0
        self._inside: Counter[int] = Counter()

    def enter(self) -> int:
        """Count a request, and return its generation for `leave`."""
        self._inside[self._number] += 1
        return self._number

    def leave(self, generation: int) -> None:
        """Remove a request."""
        self._inside[generation] -= 1
        if not self._inside[generation]:
            del self._inside[generation]

    async def passed(self) -> None:
        """Start a new generation, and wait until every request of earlier generations is answered."""
        last = self._number
        self._number += 1
        while any(generation <= last for generation in self._inside):
            await asyncio.sleep(_PAUSE)


class GenerationMiddleware:
    """Middleware that counts requests by generation.

    Args:
        app: the next ASGI app.
        generations: generations of the app.
    """

    def __init__(self, app: ASGIApp, generations: Generations) -> None:
        self.app = app
        self.generations = generations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        generation = self.generations.enter()
        try:
            await self.app(scope, receive, send)
        finally:
            self.generations.leave(generation)
