"""The three forms of a body that holds an image, by content type: raw, multipart, JSON."""

import base64
import binascii
from collections.abc import Callable

from pydantic import ValidationError

from service.errors import InvalidBodyError, UnsupportedContentTypeError
from service.inputs.multipart import field_content
from service.schemas import ImageDocument

SUPPORTED = ("image/*", "application/octet-stream", "multipart/form-data", "application/json")

Extract = Callable[[bytes], bytes]
"""From a body to the bytes of the image file; raises InvalidBodyError."""


def form_of(content_type: str | None) -> Extract:
    """Return what takes the image out of a body of this type. Without a type the body is the image.

    Raises:
        UnsupportedContentTypeError: a body of this type holds no image.
    """
    media_type = (content_type or "application/octet-stream").partition(";")[0].strip().lower()
    if media_type == "application/octet-stream" or media_type.startswith("image/"):
        return _raw
    if media_type == "application/json":
        return _from_json
    if media_type == "multipart/form-data":
        return lambda body: field_content(body, content_type or "", "image")
    raise UnsupportedContentTypeError(
        f"Content-Type {media_type!r} is not one that holds an image; send the file itself as image/* "
        '(curl: -H "Content-Type: image/png" --data-binary @FILE), a multipart/form-data field "image" '
        '(curl: -F image=@FILE), or application/json {"image": "<base64>"}',
        supported=SUPPORTED,
    )


def _raw(body: bytes) -> bytes:
    return body


def _from_json(body: bytes) -> bytes:
    expected = 'expected {"image": "<base64 of the file, without line breaks>"}'
    try:
        document = ImageDocument.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "body"
        raise InvalidBodyError(f"{where}: {problem['msg']}; {expected}") from error
    try:
        return base64.b64decode(document.image, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidBodyError(f"image: not base64 ({error}); {expected}") from error
