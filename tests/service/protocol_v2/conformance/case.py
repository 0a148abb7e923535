"""One request to both servers, and the form of a response, which is compared.

Names in paths are `{mean}`, `{float}` and `{files}`: networks of `colours`, and its ensemble that takes files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

HEADER = "Inference-Header-Content-Length"
OURS = {"mean": "colours@mean", "float": "colours@float", "files": "colours@mean"}
TRITON = {"mean": "colours.mean", "float": "colours.float", "files": "colours.mean.image"}

Form = object
"""Form of a JSON document: types in place of values, except for values that are part of the protocol."""

_COMPARED = frozenset({"datatype", "shape", "state", "live", "ready", "binary_data_size"})
"""Members whose values are compared."""


@dataclass(frozen=True)
class Case:
    """One request."""

    name: str
    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, client: httpx2.Client, names: Mapping[str, str]) -> httpx2.Response:
        """Send the request on its own connection to a server that has these names."""
        # Triton sends a body with HEAD, which would be read as the next response on a kept connection.
        headers = {**self.headers, "Connection": "close"}
        return client.request(self.method, self.path.format(**names), content=self.body, headers=headers)


def outcome(response: httpx2.Response) -> tuple[int, Form]:
    """Return status and form of a response; messages of errors are not compared."""
    if not response.content:
        return response.status_code, None
    document, binary = document_of(response)
    if isinstance(document, dict) and "outputs" in document and "model_version" in document:
        document.pop("parameters", None)  # parameters of the response differ between servers
    return response.status_code, (form(document), binary)


def document_of(response: httpx2.Response) -> tuple[Any, int]:
    """Return a response's JSON, and the number of bytes after it."""
    length = int(response.headers.get(HEADER, len(response.content)))
    return json.loads(response.content[:length]), len(response.content) - length


def form(value: object, name: str = "") -> Form:
    """Return the form of a JSON value that is a member called `name`."""
    if isinstance(value, dict):
        return {key: form(member, key) for key, member in sorted(value.items())}
    if name in _COMPARED:
        return value
    if isinstance(value, list):
        forms = [form(item) for item in value]
        return forms[:1] if all(item == forms[0] for item in forms) else forms
    return "number" if type(value) in {int, float} else type(value).__name__
