"""Authentication middleware: API keys and their rate limits, on all routes except probes and documentation."""

import math

from starlette.types import ASGIApp, Receive, Scope, Send

from service.auth.keyring import Keyring
from service.auth.rate_limit import RateLimiter
from service.problems.client_errors import KeyRequiredError, RateLimitedError
from service.problems.errors import ProblemError
from service.problems.rendering import error_answer, path_of
from service.telemetry.record import record_of

OPEN_PATHS = frozenset({"/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"})
"""Paths without a key, for probes and browsers: none of them reveals what is served."""

OPEN_PREFIXES = ("/health/", "/web/")
"""Prefixes of paths without a key: probes, and the files of the page."""

_HOW = "send it as `Authorization: Bearer KEY` or as `X-API-Key: KEY`"


class Gate:
    """Middleware that passes requests with a valid key within its rate limit, and answers others 401 or 429.

    Args:
        app: the next ASGI app.
        keyring: the keys.
        limits: rate limits of the keys.
    """

    def __init__(self, app: ASGIApp, keyring: Keyring, limits: RateLimiter) -> None:
        self.app = app
        self._keyring = keyring
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse or pass a request, without reading its body."""
        refusal = None if scope["type"] != "http" or is_open(path_of(scope)) else self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send)
            return
        record = record_of(scope)
        record.problem = refusal.name
        await error_answer(refusal, path_of(scope), record.request_id)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ProblemError | None:
        secret = _secret_of(scope)
        if secret is None:
            return KeyRequiredError(f"this server requires an API key; {_HOW}", 'Bearer realm="posbake"')
        key = self._keyring.find(secret)
        if key is None:
            return KeyRequiredError(
                f"the API key is unknown; {_HOW}, or ask the operator for a new one",
                'Bearer realm="posbake", error="invalid_token"',
            )
        record = record_of(scope)
        record.api_key, record.is_admin = key.name, key.admin
        wait = self._limits.take(key.digest, key.limit)
        if wait > 0:
            seconds = max(1, math.ceil(wait))
            return RateLimitedError(f"key {key.name} exceeded its rate limit; wait {seconds} s", seconds)
        return None


def is_open(path: str) -> bool:
    """Return whether a path needs no key."""
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIXES)


def _secret_of(scope: Scope) -> bytes | None:
    """Return the key of a request; `Authorization: Bearer` takes precedence over X-API-Key."""
    secret: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return bytes(token.strip())
        elif name == b"x-api-key":
            secret = bytes(value.strip())
    return secret
