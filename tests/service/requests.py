"""Types of the arguments of TestClient.post, for helpers that pass them on."""

from collections.abc import Iterable
from typing import Any, TypedDict


class Request(TypedDict, total=False):
    content: bytes | Iterable[bytes]
    files: dict[str, Any]
    json: object
    data: dict[str, str]
    headers: dict[str, str]
