"""Routes of the pages' files, served from memory with a strong ETag and a content security policy.

URLs inside the files are relative, as in `web/page.css`, so they work under any path prefix.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from service.problems.errors import PageUnavailableError
from service.transport.etags import tagged
from service.transport.pages import DOCS_PATH, page_headers

STATIC = Path(__file__).parent / "static"
SWAGGER_PACKAGE = "fastapi_swagger"
"""Package with Swagger UI's files (Apache 2.0, SmartBear Software)."""

FOLDER = "/web/"
_SWAGGER_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


@dataclass(frozen=True)
class File:
    """A served file.

    Attributes:
        content: contents of the file.
        media_type: media type with character set.
        tag: hash of the contents.
    """

    content: bytes
    media_type: str
    tag: str

    @property
    def is_page(self) -> bool:
        """True if it is HTML."""
        return self.media_type == _TYPES[".html"]

    @classmethod
    def read(cls, path: Path) -> "File":
        """Read a file of a known type.

        Raises:
            OSError: the file cannot be read.
        """
        content = path.read_bytes()
        return cls(content, _TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:32])

    def answer(self, request: Request) -> Response:
        """Return the file, or 304 if the client already has it."""
        return tagged(request, self.content, self.tag, self.media_type, page_headers())


def add_page(app: FastAPI) -> None:
    """Serve the page at `/`, the API page at `/docs`, and the files of both under `/web/`.

    Raises:
        PageUnavailableError: the package of Swagger UI is not installed, or lacks files.
        OSError: a file cannot be read.
    """
    paths = [path for path in sorted(STATIC.iterdir()) if path.suffix in _TYPES] + swagger_files()
    files = {path.name: File.read(path) for path in paths}

    def page(name: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return files[name].answer(request)

        return answer

    async def file(request: Request) -> Response:
        found = files.get(request.path_params["name"])
        if found is None or found.is_page:  # URLs in a page are relative to its own URL
            raise HTTPException(404)
        return found.answer(request)

    app.add_route("/", page("index.html"), methods=["GET"], include_in_schema=False)
    app.add_route(DOCS_PATH, page("docs.html"), methods=["GET"], include_in_schema=False)
    app.add_route(FOLDER + "{name}", file, methods=["GET"], include_in_schema=False)


def swagger_files() -> list[Path]:
    """Return the paths of Swagger UI's files.

    Raises:
        PageUnavailableError: the package is not installed, or lacks files.
    """
    found = find_spec(SWAGGER_PACKAGE)  # does not import it
    folders = [Path(folder) / "resources" for folder in (found and found.submodule_search_locations) or ()]
    paths = [folder / name for folder in folders[:1] for name in _SWAGGER_FILES]
    if not paths or not all(path.is_file() for path in paths):
        raise PageUnavailableError(
            f"/docs needs Swagger UI's files, which package {SWAGGER_PACKAGE} has: pip install fastapi-swagger, or "
            "install posbake's extra service or gpu"
        )
    return paths
