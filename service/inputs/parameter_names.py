"""Errors of parameters: unknown names, and two values for one name."""

import difflib
from collections.abc import Iterable

from service.problems.client_errors import InvalidParameterError

_LONGEST = 64
"""Maximum number of characters of a name that are compared and shown; the comparison is quadratic."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InvalidParameterError:
    """Return the error of an unknown name, with the nearest known name, if any, and all known names.

    Args:
        kind: kind of name, for the message.
        name: name as sent by the client.
        known: known names; may be empty.
    """
    names = list(known)
    shown = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"
    if not names:
        return InvalidParameterError(f"unknown {kind} {shown!r}; this endpoint has none")
    folded = {known_name.lower(): known_name for known_name in names}
    nearest = [folded[found] for found in difflib.get_close_matches(name[:_LONGEST].lower(), folded, n=1, cutoff=0.1)]
    question = "".join(f"did you mean {found!r}? " for found in nearest)
    return InvalidParameterError(f"unknown {kind} {shown!r}; {question}known: {', '.join(names)}")


def given_twice(name: str, first: object, second: object) -> InvalidParameterError:
    """Return the error of a parameter with two values."""
    return InvalidParameterError(
        f"{name} is given twice, as {str(first)[:200]} and as {str(second)[:200]}; give it once"
    )
