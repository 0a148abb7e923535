"""`python -m service`: serve a repository. Exit status: 0 stopped, 1 start failed, 2 usage."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from types import FrameType

from service.resources.exit import end_process, handle_stop_signals, until_stopped

if __name__ == "__main__":
    # Before the imports below, which take a second: the first process of a container has no default action for SIGTERM.
    # Not sys.exit: Python 3.11 converts an exception raised during class creation to RuntimeError.
    handle_stop_signals(lambda _number, _frame: os._exit(0))

from service.resources.packages import packages_required
from service.resources.streams import open_standard_streams

if __name__ == "__main__":
    open_standard_streams()  # before the imports below, which may open files

with packages_required("python -m service"):
    import uvicorn
    import uvloop  # noqa: F401 -- uvicorn imports it once it runs
    from pydantic import ValidationError
    from pydantic_settings import CliApp, SettingsError

    from service.app import create_app
    from service.backends import BUILD_ENGINES
    from service.catalogue.loading import load_catalogue
    from service.problems.errors import StartupError
    from service.processes.shared import Place, Shared
    from service.processes.supervisor import Supervisor, end_with_supervisor
    from service.settings import Settings
    from service.transport.connections import Connections, open_descriptors
    from service.transport.cors import Origins
    from service.transport.draining import Lifecycle
    from service.transport.guard import Guard, guarded
    from service.transport.listening import bind
    from service.transport.logs import configure_logging
    from service.transport.starting import answering

logger = logging.getLogger("service")


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal, and return the exit status."""
    try:
        settings = CliApp.run(Settings, cli_args=list(arguments))
    except ValidationError as error:
        return _fail(
            2, "; ".join(_usage(problem["loc"], problem["msg"], problem["input"]) for problem in error.errors())
        )
    except SettingsError as error:
        return _fail(2, str(error))
    place = Place.of(os.environ)
    try:
        configure_logging(settings.log_format)
        if settings.processes > 1 and place is None:
            return Supervisor(settings, arguments).run()
        shared = None if place is None else Shared(place)
        port = settings.port if place is None else place.port
        with bind(settings.host, port, shared=shared is not None) as listener:
            if place is not None:
                end_with_supervisor(place)
            connections = Connections(settings.max_connections, open_descriptors(settings.max_connections))
            with answering(listener) if settings.backend in BUILD_ENGINES else nullcontext():
                catalogue = load_catalogue(settings)
            app = create_app(settings, catalogue, connections, shared)
            config = uvicorn.Config(
                app,
                loop="uvloop",
                http=guarded(_guard(settings, connections)),
                ws="none",
                proxy_headers=False,  # a client's address and scheme are not used; see service/transport/prefixes.py
                log_config=None,
                log_level="warning",
                access_log=False,
                timeout_keep_alive=settings.keep_alive_seconds,
                timeout_graceful_shutdown=1,  # after DRAIN_SECONDS
            )
            server = _DrainingServer(config, app.state.lifecycle, shared)
            # uvicorn does so once its event loop runs, and raises SIGTERM and SIGINT again at the end.
            handle_stop_signals(server.handle_exit)
            server.run([listener])
    except StartupError as error:
        return _fail(1, str(error))
    except SystemExit:  # uvicorn's, with status 3: the app did not start, and the log has the reason
        return 1
    return 0


class _DrainingServer(uvicorn.Server):
    """A uvicorn server that drains before it stops, and logs its address once it is ready.

    uvicorn itself closes the port first: connections would be refused instead of answered with 503, and probes would
    fail instead of reporting that the server is not ready. With --port 0 the log line contains the port.

    Args:
        config: configuration of uvicorn.
        lifecycle: lifecycle of the app.
        shared: state shared with other processes; None for a single process.
    """

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, shared: Shared | None) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._shared = shared

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal; stop like uvicorn at the second, except SIGHUP: a closing terminal sends two."""
        if not self._lifecycle.draining:
            logger.info("stopping: waiting for %d accepted requests", self._lifecycle.accepted)
            self._lifecycle.drain()
        elif sig != signal.SIGHUP:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop; called by uvicorn ten times per second."""
        return await super().on_tick(counter) or self._lifecycle.over()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._shared is not None:
            self._shared.mark_ready()
        elif self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            logger.info("ready on http://%s:%d", f"[{host}]" if ":" in host else host, port)


def _guard(settings: Settings, connections: Connections) -> Guard:
    origins = None if settings.cors_origins is None else Origins.parse(settings.cors_origins)
    return Guard(settings.request_timeout, settings.max_header_bytes, connections, origins)


def _usage(location: tuple[int | str, ...], message: str, given: object) -> str:
    flag = "--" + str(location[0]).replace("_", "-")
    variable = "POSBAKE_" + str(location[0]).upper()
    return f"{flag} or {variable} is {given!r}: {message}"


def _fail(status: int, sentence: str) -> int:
    for handler in logging.getLogger().handlers:
        handler.flush()  # write the log first
    sys.stderr.write(f"python -m service: {sentence}\n")
    return status


if __name__ == "__main__":
    end_process(until_stopped(lambda: main(sys.argv[1:])))
