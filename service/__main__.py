"""`python -m service`: serve a repository. Exit status 0 stopped, 1 could not start, 2 usage."""

import contextlib
import logging
import socket
import sys
from collections.abc import Sequence

import uvicorn
from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from service.app import create_app
from service.errors import AddressError, StartupError
from service.loading import load_catalogue
from service.settings import Settings

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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        with _bind(settings.host, settings.port) as listener:
            app = create_app(settings, load_catalogue(settings))
            config = uvicorn.Config(app, log_config=None, log_level="warning", access_log=False)
            with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises Ctrl-C again after it has stopped
                _AnnouncingServer(config).run([listener])
    except StartupError as error:
        return _fail(1, str(error))
    return 0


class _AnnouncingServer(uvicorn.Server):
    """Says in one line where it listens, once it answers: with --port 0 that is how the port gets known."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            logger.info("ready on http://%s:%d", f"[{host}]" if ":" in host else host, port)


def _bind(host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet: until all is warm, connections are refused."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # a restart need not wait for old connections
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise AddressError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; choose another --host or --port"
        ) from error
    return listener


def _usage(location: tuple[int | str, ...], message: str, given: object) -> str:
    flag = "--" + str(location[0]).replace("_", "-")
    variable = "POSBAKE_" + str(location[0]).upper()
    return f"{flag} or {variable} is {given!r}: {message}"


def _fail(status: int, sentence: str) -> int:
    sys.stderr.write(f"python -m service: {sentence}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
