"""Security headers of pages, and /openapi.json.

The OpenAPI document is rendered once for each prefix, and cached as bytes.
"""

import asyncio
import json
from collections.abc import Callable
from types import MappingProxyType

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from service.transport.prefixes import Prefixes

DOCS_PATH, OPENAPI_PATH = "/docs", "/openapi.json"
_MOST_PREFIXES = 8

_OWN_POLICY = MappingProxyType(
    {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
)
"""Content security policy of the service's pages: files of this server and generated images only."""


def page_headers() -> dict[str, str]:
    """Return the security headers of a page: content security policy, no sniffing, no referrer."""
    return {
        "Content-Security-Policy": "; ".join(f"{directive} {sources}" for directive, sources in _OWN_POLICY.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


def add_document(app: FastAPI, prefixes: Prefixes) -> None:
    """Serve the OpenAPI document of an app without a route for it.

    Args:
        app: app with `openapi_url=None`.
        prefixes: finds the prefix of URLs.
    """

    def document(prefix: str) -> bytes:
        found = app.openapi()
        if prefix:
            found = {**found, "servers": [{"url": prefix}]}
        return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()

    kept = _Kept(document)

    async def answer(request: Request) -> Response:
        return Response(await kept.get(prefixes.find(request)), media_type="application/json")

    app.add_route(OPENAPI_PATH, answer, methods=["GET"], include_in_schema=False)


class _Kept:
    """Cache of documents for the last few prefixes. Rendering takes 0.1 s, so it runs on another thread.

    Args:
        render: returns the body for a prefix.
    """

    def __init__(self, render: Callable[[str], bytes]) -> None:
        self._render = render
        self._kept: dict[str, bytes] = {}
        self._lock = asyncio.Lock()

    async def get(self, prefix: str) -> bytes:
        """Return the body for a prefix."""
        if prefix not in self._kept:
            async with self._lock:
                if prefix not in self._kept:
                    rendered = await run_in_threadpool(self._render, prefix)
                    if len(self._kept) == _MOST_PREFIXES:
                        del self._kept[next(iter(self._kept))]
                    self._kept[prefix] = rendered
        return self._kept[prefix]
