"""Root path of the app behind a proxy: ROOT_PATH, or X-Forwarded-Prefix of a trusted proxy.

It prefixes the addresses in pages and in the OpenAPI document. They have no host, so a prefix must not be able to name
one, as `//evil.example` would.
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
    """Finds the prefix of a request.

    Attributes:
        own: ROOT_PATH, without a slash at its end; empty for none.
        proxies: networks whose X-Forwarded-Prefix is trusted; None for all.
    """

    own: str = ""
    proxies: tuple[Network, ...] | None = field(default=())

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the prefixes of the settings.

        Raises:
            AccessSettingError: ROOT_PATH is no path, or FORWARDED_ALLOW_IPS are no addresses.
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
                f"FORWARDED_ALLOW_IPS is {listed!r} ({error}); expected addresses or networks with commas between "
                "them, * or none"
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
        mapped = getattr(address, "ipv4_mapped", None)  # of a client of IPv4 on a socket of IPv6
        return any((mapped or address) in network for network in self.proxies)


class RootPathMiddleware:
    """Middleware that removes ROOT_PATH from addresses: some proxies remove it, others do not.

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
    """Return a prefix without a slash at its end; None if it is none that can be trusted in an address."""
    stripped = text.strip(" \t").removesuffix("/")
    return stripped if not stripped or (len(stripped) <= _LONGEST and _PREFIX.fullmatch(stripped)) else None
