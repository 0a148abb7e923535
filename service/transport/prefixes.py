"""Root path of the app behind a proxy: ROOT_PATH, or X-Forwarded-Prefix from a trusted proxy.

It is the prefix of URLs in pages and in the OpenAPI document. These have no host, so a prefix such as `//evil.example`
must not be able to add one.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Self

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.problems.errors import AccessSettingError
from service.settings import Settings

HEADER = "x-forwarded-prefix"

_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+){1,20}", re.ASCII)
_LONGEST = 200

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Prefixes:
    """Prefix of a request, from ROOT_PATH or a trusted header.

    Attributes:
        own: ROOT_PATH, without a trailing slash; empty for none.
        proxies: networks with a trusted X-Forwarded-Prefix; None for all.
    """

    own: str = ""
    proxies: tuple[Network, ...] | None = field(default=())

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the prefixes of the settings.

        Raises:
            AccessSettingError: ROOT_PATH is not a path, or FORWARDED_ALLOW_IPS are not addresses.
        """
        own = _prefix(settings.root_path or "")
        if own is None:
            raise AccessSettingError(
                f"ROOT_PATH is {settings.root_path!r}; expected a path such as /ml, of letters, digits, '.', '_', '~' "
                "and '-', or nothing"
            )
        listed = settings.forwarded_allow_ips.strip()
        if listed == "*":
            return cls(own, None)
        names = [] if listed == "none" else [name.strip() for name in listed.split(",")]
        try:
            return cls(own, tuple(ipaddress.ip_network(name) for name in names))
        except ValueError as error:
            raise AccessSettingError(
                f"FORWARDED_ALLOW_IPS is {listed!r} ({error}); expected comma-separated addresses or networks, "
                "* or none"
            ) from error

    def find(self, request: Request) -> str:
        """Return the prefix of a request, empty for none. A valid header of a trusted proxy overrides ROOT_PATH."""
        given = request.headers.get(HEADER)
        if given is not None and self._trusts(request.scope):
            prefix = _prefix(given)
            if prefix is not None:
                return prefix
        return self.own or _prefix(request.scope.get("root_path", "")) or ""

    def _trusts(self, scope: Scope) -> bool:
        if self.proxies is None:
            return True
        client = scope.get("client")
        try:
            address = ipaddress.ip_address(client[0] if client else "")
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)  # an IPv4 client on an IPv6 socket
        return any((mapped or address) in network for network in self.proxies)


class RootPathMiddleware:
    """Middleware that removes ROOT_PATH from paths, because some proxies remove it and others do not.

    Args:
        app: the next ASGI app.
        root_path: not empty.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and scope["path"].startswith(self._root_path + "/"):
            scope["path"] = scope["path"].removeprefix(self._root_path)
        await self.app(scope, receive, send)


def _prefix(text: str) -> str | None:
    """Return a prefix without its trailing slash; None if it is not safe in a URL."""
    stripped = text.strip(" \t").removesuffix("/")
    return stripped if not stripped or (len(stripped) <= _LONGEST and _PREFIX.fullmatch(stripped)) else None
