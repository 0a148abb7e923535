"""Limit of open connections: MAX_CONNECTIONS, and the number of file descriptors."""

import logging
import resource
import time
from collections.abc import Callable

from service.problems.server_errors import ConnectionsFullError

logger = logging.getLogger(__name__)

RESERVE = 64
"""Descriptors reserved for other uses: loaded artifacts, libraries, the event loop."""
MOST_REFUSED = 32
"""Maximum number of connections over the limit that are read before the refusal; others are refused immediately."""
_QUIET_SECONDS = 60.0


class Connections:
    """Admission of new connections. Used on the event loop only.

    Args:
        limit: maximum number of connections.
        descriptors: the system's limit for this process (RLIMIT_NOFILE).
        clock: monotonic seconds.
    """

    def __init__(self, limit: int, descriptors: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.refused = 0
        """Number of connections refused since the start."""
        self._descriptors = descriptors - min(RESERVE, descriptors // 4)
        self._clock = clock
        self._quiet_until = 0.0

    def refusal(self, open_now: int, descriptor: int) -> ConnectionsFullError | None:
        """Return the error of a refused new connection, None if it is accepted.

        Each connection gets the lowest free descriptor, so its descriptor equals the number of descriptors in use.

        Args:
            open_now: number of connections, including the new one.
            descriptor: descriptor of the new connection.
        """
        if open_now <= self.limit and descriptor < self._descriptors:
            return None
        self.refused += 1
        if open_now > self.limit:
            found = f"{self.limit} connections are open, the most that MAX_CONNECTIONS allows"
        else:
            found = f"{descriptor} descriptors are in use, nearly all that the system allows this process (ulimit -n)"
        if self._clock() >= self._quiet_until:
            self._quiet_until = self._clock() + _QUIET_SECONDS
            logger.warning(
                "connections are refused: %s; %d so far, and the next line about it in %g s at the earliest",
                *(found, self.refused, _QUIET_SECONDS),
            )
        return ConnectionsFullError(f"{found}; try again later, and close connections that are not needed")

    def may_read(self, open_now: int, descriptor: int) -> bool:
        """Return whether the request of a refused connection is read before the response."""
        return open_now <= self.limit + MOST_REFUSED and descriptor < self._descriptors + MOST_REFUSED // 2


def open_descriptors(connections: int) -> int:
    """Return the limit of descriptors of this process, after raising the soft limit if necessary.

    Args:
        connections: MAX_CONNECTIONS; a warning is logged if the limit is below it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + RESERVE + MOST_REFUSED
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            logger.warning(
                "MAX_CONNECTIONS is %d, but this process may have only %d files and connections open; raise the "
                "system's limit to %d (ulimit -n), or lower MAX_CONNECTIONS",
                *(connections, soft, wanted),
            )
    return wanted if soft == resource.RLIM_INFINITY else soft
