"""CORS: cross-origin requests from browsers are allowed only from origins in CORS_ORIGINS."""

import re
from dataclasses import dataclass
from typing import Any, Self

from service.problems.errors import AccessSettingError

_ORIGIN = re.compile(r"https?://[^/\s,?#@*]+")
_EXPOSED = ("X-Request-Id", "Server-Timing", "Retry-After", "Inference-Header-Content-Length")


@dataclass(frozen=True)
class Origins:
    """Allowed origins, each scheme://host[:port]; or `*` for any."""

    allowed: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a comma-separated list of origins.

        Raises:
            AccessSettingError: an entry is not an origin.
        """
        allowed = tuple(origin.strip() for origin in text.split(","))
        wrong = [origin for origin in allowed if not _ORIGIN.fullmatch(origin)]
        if wrong and allowed != ("*",):
            raise AccessSettingError(
                f"CORS_ORIGINS has {wrong[0]!r}, which is not an origin; expected scheme://host[:port] without a path, "
                "several separated by commas, or * alone"
            )
        return cls(allowed)

    def options(self) -> dict[str, Any]:
        """Return the arguments of Starlette's CORSMiddleware: any request header, but no cookies."""
        return {
            "allow_origins": list(self.allowed),
            "allow_methods": ["GET", "HEAD", "POST"],
            "allow_headers": ["*"],
            "expose_headers": list(_EXPOSED),
        }

    def headers(self, origin: str | None) -> dict[bytes, bytes]:
        """Return the CORS headers of a response written below the application."""
        exposed = {b"access-control-expose-headers": ", ".join(_EXPOSED).encode()}
        if self.allowed == ("*",):
            return {b"access-control-allow-origin": b"*", **exposed}
        if origin not in self.allowed:
            return {b"vary": b"Origin"}
        return {b"access-control-allow-origin": origin.encode(), b"vary": b"Origin", **exposed}
