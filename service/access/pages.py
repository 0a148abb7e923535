"""Pages for browsers: /docs, and the headers that keep what a page may do to what it needs.

Swagger UI comes from a CDN, as FastAPI has it: the policy of /docs allows that folder of that host, and the one inline
script by its hash. Where browsers cannot reach the CDN the page stays empty; other tools can read /openapi.json.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

SWAGGER_UI = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/"
DOCS_PATH = "/docs"
_NO_ICON = "data:,"

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
"""For a page of ours: its own files, pictures that it makes itself, and nothing from elsewhere."""


def page_headers(policy: Mapping[str, str] = _OWN_POLICY) -> dict[str, str]:
    """Return the security headers of a page: a content security policy by directive, no sniffing, no referrer."""
    return {
        "Content-Security-Policy": "; ".join(f"{directive} {sources}" for directive, sources in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


def add_docs(app: FastAPI) -> None:
    """Serve Swagger UI under DOCS_PATH, of an app that was made with `docs_url=None`."""

    @app.get(DOCS_PATH, include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url=f"{request.scope.get('root_path', '').rstrip('/')}{app.openapi_url}",
            title=app.title,
            swagger_js_url=SWAGGER_UI + "swagger-ui-bundle.js",
            swagger_css_url=SWAGGER_UI + "swagger-ui.css",
            swagger_favicon_url=_NO_ICON,
        )
        page.headers.update(page_headers(_swagger_policy(bytes(page.body))))
        return page


def _swagger_policy(page: bytes) -> dict[str, str]:
    scripts = [base64.b64encode(hashlib.sha256(script).digest()) for script in _INLINE_SCRIPT.findall(page)]
    hashes = " ".join(f"'sha256-{script.decode()}'" for script in scripts)
    return {
        **_OWN_POLICY,
        "script-src": f"{SWAGGER_UI} {hashes}",
        "style-src": f"{SWAGGER_UI} 'unsafe-inline'",  # Swagger UI sets style attributes
        "img-src": "'self' data:",
    }
