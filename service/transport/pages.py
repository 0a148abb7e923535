"""Documentation pages: /docs, /openapi.json, and their security headers.

Swagger UI comes from a CDN, as in FastAPI: the policy of /docs allows that path, and the one inline script by its hash.
Where browsers cannot reach the CDN the page stays empty; other tools can read /openapi.json.

The page and the OpenAPI document are rendered once for each prefix, and kept as bytes.
"""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from service.transport.prefixes import Prefixes

SWAGGER_UI = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/"
DOCS_PATH, OPENAPI_PATH = "/docs", "/openapi.json"
_NO_ICON = "data:,"
_MOST_PREFIXES = 8

_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
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
"""Policy of the service's own pages: files of this server and generated images only."""

Rendered = tuple[bytes, Mapping[str, str]]
"""A body, and its headers."""


def page_headers(policy: Mapping[str, str] = _OWN_POLICY) -> dict[str, str]:
    """Return the security headers of a page: a content security policy by directive, no sniffing, no referrer."""
    return {
        "Content-Security-Policy": "; ".join(f"{directive} {sources}" for directive, sources in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


def add_docs(app: FastAPI, prefixes: Prefixes) -> None:
    """Serve Swagger UI under DOCS_PATH, and the document that it shows, of an app that was made without either.

    Args:
        app: with `docs_url=None` and `openapi_url=None`.
        prefixes: finds the prefix of the addresses.
    """

    def document(prefix: str) -> Rendered:
        found = app.openapi()
        if prefix:
            found = {**found, "servers": [{"url": prefix}]}
        text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
        return text.encode(), {"Content-Type": "application/json"}

    def page(prefix: str) -> Rendered:
        swagger = get_swagger_ui_html(
            openapi_url=prefix + OPENAPI_PATH,
            title=app.title,
            swagger_js_url=SWAGGER_UI + "swagger-ui-bundle.js",
            swagger_css_url=SWAGGER_UI + "swagger-ui.css",
            swagger_favicon_url=_NO_ICON,
        )
        body = bytes(swagger.body)
        return body, {"Content-Type": "text/html; charset=utf-8", **page_headers(_swagger_policy(body))}

    def add(path: str, render: Callable[[str], Rendered]) -> None:
        kept = _Kept(render)

        async def answer(request: Request) -> Response:
            body, headers = await kept.get(prefixes.find(request))
            return Response(body, headers=headers)

        app.add_route(path, answer, methods=["GET"], include_in_schema=False)

    add(OPENAPI_PATH, document)
    add(DOCS_PATH, page)

    async def root(request: Request) -> Response:
        return RedirectResponse(prefixes.find(request) + DOCS_PATH)

    app.add_route("/", root, methods=["GET"], include_in_schema=False)


class _Kept:
    """Cache of pages for the last few prefixes. Rendering takes 0.1 s, so it runs on another thread.

    Args:
        render: returns the body and the headers for a prefix.
    """

    def __init__(self, render: Callable[[str], Rendered]) -> None:
        self._render = render
        self._kept: dict[str, Rendered] = {}
        self._lock = asyncio.Lock()

    async def get(self, prefix: str) -> Rendered:
        """Return the body and the headers for a prefix."""
        if prefix not in self._kept:
            async with self._lock:
                if prefix not in self._kept:
                    rendered = await run_in_threadpool(self._render, prefix)
                    if len(self._kept) == _MOST_PREFIXES:
                        del self._kept[next(iter(self._kept))]
                    self._kept[prefix] = rendered
        return self._kept[prefix]


def _swagger_policy(page: bytes) -> dict[str, str]:
    scripts = [base64.b64encode(hashlib.sha256(script).digest()) for script in _INLINE_SCRIPT.findall(page)]
    hashes = " ".join(f"'sha256-{script.decode()}'" for script in scripts)
    return {
        **_OWN_POLICY,
        "script-src": f"{SWAGGER_UI} {hashes}",
        "style-src": f"{SWAGGER_UI} 'unsafe-inline'",  # Swagger UI sets style attributes
        "img-src": "'self' data:",
    }
