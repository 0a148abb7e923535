"""Entity tags, with 304 for unchanged content (RFC 9110, section 13.1.2)."""

from collections.abc import Mapping

from fastapi import Request
from fastapi.responses import Response

from service.transport.pieces import PiecewiseResponse


def tagged(request: Request, content: bytes, tag: str, media_type: str, headers: Mapping[str, str]) -> Response:
    """Return the content, or 304 if the client's If-None-Match has its tag.

    Args:
        request: the request.
        content: the body.
        tag: hexadecimal digest of the content.
        media_type: media type of the content.
        headers: headers of both responses.
    """
    sent = {**headers, "ETag": f'"{tag}"', "Cache-Control": "no-cache"}  # revalidate each time; 304 is cheap
    given = request.headers.get("if-none-match", "").strip()
    if given == "*" or sent["ETag"] in {known.strip().removeprefix("W/") for known in given.split(",")}:
        return Response(status_code=304, headers=sent)
    return PiecewiseResponse(content, media_type=media_type, headers=sent)
