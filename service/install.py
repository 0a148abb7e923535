"""What of access an app gets, by its settings: what is not set is not there, and costs nothing."""

from fastapi import FastAPI

from service.auth.gate import Gate
from service.auth.keyring import Keyring
from service.auth.openapi import document_keys
from service.auth.rate_limit import RateLimit, RateLimiter
from service.problems.errors import AccessSettingError
from service.settings import Settings
from service.transport.cors import Origins, add_cross_origin
from service.transport.heads import HeadMiddleware
from service.transport.logs import LogContext
from service.transport.pages import add_docs
from service.transport.prefixes import Prefixes, RootPathMiddleware


def install_access(app: FastAPI, settings: Settings) -> None:
    """Put the gate and what goes with it around the routes.

    Call it before RequestMiddleware is added, so that refusals too have an id, a count and a line in the log.

    Raises:
        AccessSettingError: the settings cannot be honoured.
    """
    prefixes = Prefixes.of(settings)
    add_docs(app, prefixes)
    app.add_middleware(HeadMiddleware)
    if settings.api_keys_file is not None:
        default = None if settings.rate_limit is None else RateLimit.of(settings.rate_limit)
        app.add_middleware(Gate, keyring=Keyring(settings.api_keys_file), limits=RateLimiter(default))
        document_keys(app)
    elif settings.rate_limit is not None:
        raise AccessSettingError("RATE_LIMIT is of each API key, and there are none; set API_KEYS_FILE too")
    if settings.cors_origins is not None:
        add_cross_origin(
            app, Origins.parse(settings.cors_origins)
        )  # outside the gate: a browser asks for leave without a key


def install_log_context(app: FastAPI, settings: Settings) -> None:
    """Let the log name requests and keys, where it says more than plain text does. Call it after all middleware."""
    if settings.log_format != "text" or settings.api_keys_file is not None:
        app.add_middleware(LogContext)


def install_root_path(app: FastAPI, settings: Settings) -> None:
    """Take ROOT_PATH away from addresses, if it is set. Call it last: all other middleware sees addresses without."""
    if (root_path := Prefixes.of(settings).own) != "":
        app.add_middleware(RootPathMiddleware, root_path=root_path)
