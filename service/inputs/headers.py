"""Look-up of single headers, cheaper than creating Starlette's Headers."""

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a header; None if there is none.

    Args:
        scope: scope of ASGI.
        name: in lower case.
    """
    for given, value in scope["headers"]:
        if given == name:
            text: str = value.decode("latin-1")
            return text
    return None
