"""Which pages of other origins may ask the service from a browser: none unless CORS_ORIGINS names them."""

import re

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from service.access.errors import AccessSettingError

_ORIGIN = re.compile(r"https?://[^/\s,?#@*]+")
_ASKED = ("Authorization", "Content-Type", "X-API-Key", "X-Request-Id", "Inference-Header-Content-Length")
_TOLD = ("X-Request-Id", "Server-Timing", "Retry-After", "Inference-Header-Content-Length")


def add_cross_origin(app: FastAPI, origins: str) -> None:
    """Let browsers ask from these origins, without cookies.

    Args:
        app: what answers.
        origins: separated by commas, each scheme://host[:port]; or * for any.

    Raises:
        AccessSettingError: one is not an origin.
    """
    allowed = [origin.strip() for origin in origins.split(",")]
    wrong = [origin for origin in allowed if not _ORIGIN.fullmatch(origin)]
    if wrong and allowed != ["*"]:
        raise AccessSettingError(
            f"CORS_ORIGINS has {wrong[0]!r}, which is not an origin; expected scheme://host[:port] without a path, "
            "several separated by commas, or * alone"
        )
    app.add_middleware(
        CORSMiddleware,
        allow_origins=allowed,
        allow_methods=["GET", "POST"],
        allow_headers=list(_ASKED),
        expose_headers=list(_TOLD),
    )
