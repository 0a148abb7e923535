"""Forms of a body with an image, by content type: raw, multipart, JSON, with optional parameters."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from service.inputs.base64_text import decode_base64
from service.inputs.json_text import JsonError, parse_json
from service.inputs.multipart import Field, decoded, read_fields
from service.inputs.parameter_names import given_twice, unknown_name
from service.problems.client_errors import InvalidBodyError, InvalidParameterError, UnsupportedContentTypeError

SUPPORTED = ("image/*", "application/octet-stream", "multipart/form-data", "application/json")
IMAGE = "image"
_LISTS = {"variants"}
"""Parameters that may be lists of strings in JSON; comma-separated elsewhere."""
_LONGEST_VALUE = 4096
_FORM = 'expected multipart/form-data with one field "image" that holds the file'
_JSON = 'expected {"image": "<base64 of the file>"}'

T = TypeVar("T")

Extract = Callable[[bytes], bytes]
"""Function from the content of a form to the bytes of the image file; raises InvalidBodyError."""


@dataclass(frozen=True)
class Upload:
    """Image, and the parameters in its body."""

    content: bytes
    extract: Extract
    """Function that extracts the image file from `content`. Too slow for the event loop."""
    parameters: dict[str, str] = field(default_factory=dict)


Form = Callable[[bytes, Collection[str]], Upload]
"""Function from a body, and the names of its possible parameters, to its content.

Raises InvalidBodyError, and InvalidParameterError for an invalid name or value. Takes 5 ms per MB."""


def form_of(content_type: str | None) -> Form | None:
    """Return the reader for a content type; None if the body is the image itself, including without a type.

    Raises:
        UnsupportedContentTypeError: a body of this type cannot contain an image.
    """
    media_type = (content_type or "application/octet-stream").partition(";")[0].strip().lower()
    if media_type == "application/octet-stream" or media_type.startswith("image/"):
        return None
    if media_type == "application/json":
        return _from_json
    if media_type == "multipart/form-data":
        return lambda body, known: _from_multipart(body, content_type or "", known)
    raise UnsupportedContentTypeError(
        f"Content-Type {media_type[:200]!r} is not supported; send the file itself as image/* "
        '(curl: -H "Content-Type: image/png" --data-binary @FILE), a multipart/form-data field "image" '
        '(curl: -F image=@FILE), or application/json {"image": "<base64>"}',
        supported=SUPPORTED,
    )


def raw(body: bytes) -> bytes:
    """Return the body, which is the image file."""
    return body


def _from_multipart(body: bytes, content_type: str, known: Collection[str]) -> Upload:
    try:
        fields = read_fields(body, content_type)
        others = [(found.name, found) for found in fields if found.name != IMAGE]
        parameters = _parameters("form field", others, _text, known)
        images = [found for found in fields if found.name == IMAGE]
        if len(images) != 1:
            raise InvalidBodyError(f'found {len(images)} fields "{IMAGE}"')
        return Upload(decoded(images[0]), raw, parameters)
    except InvalidBodyError as error:
        raise InvalidBodyError(f"{error.detail}; {_FORM}") from error


def _from_json(body: bytes, known: Collection[str]) -> Upload:
    try:
        document = parse_json(body)
    except JsonError as error:
        raise InvalidBodyError(f"body: {error}; {_JSON}") from error
    if not isinstance(document, dict):
        raise InvalidBodyError(f"body: found {_kind(document)}; {_JSON}")
    image = document.pop(IMAGE, None)
    parameters = _parameters(
        "JSON member", ((name, (name, value)) for name, value in document.items()), _written, known
    )
    if not isinstance(image, str):
        raise InvalidBodyError(f"{IMAGE}: found {_kind(image)}; {_JSON}")
    return Upload(image.encode(), _from_base64, parameters)


def _from_base64(text: bytes) -> bytes:
    try:
        return decode_base64(text)
    except ValueError as error:
        raise InvalidBodyError(f"{IMAGE}: not base64: {error}; {_JSON}") from error


def _parameters(
    kind: str, given: Iterable[tuple[str, T]], text_of: Callable[[T], str | None], known: Collection[str]
) -> dict[str, str]:
    """Return parameters by name, as text; null parameters are left out.

    Raises:
        InvalidParameterError: one is unknown, given twice with different values, or too long.
    """
    found: dict[str, str] = {}
    for name, value in given:
        if name not in known:
            raise unknown_name(kind, name, [IMAGE, *known])
        text = text_of(value)
        if text is None:
            continue
        if len(text) > _LONGEST_VALUE:
            raise InvalidParameterError(
                f"{kind} {name!r} has {len(text)} characters, at most {_LONGEST_VALUE} are allowed"
            )
        if found.setdefault(name, text) != text:
            raise given_twice(name, found[name], text)
    return found


def _text(found: Field) -> str:
    try:
        return decoded(found).decode()
    except UnicodeDecodeError as error:
        raise InvalidBodyError(f'field "{found.name}" is not UTF-8') from error


def _written(member: tuple[str, object]) -> str | None:
    """Return a JSON value as the text of a query parameter, None for null."""
    name, value = member
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # JSON has only one number type: 5.0 is 5
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if name in _LISTS and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise InvalidParameterError(f"JSON member {name!r} is {_kind(value)}, expected a string or a number")


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "nothing"}
    return kinds.get(type(value), "a number")
