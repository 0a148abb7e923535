"""Errors of ambiguous parameters: unknown names, and two values for one name."""

import difflib
from collections.abc import Iterable

from service.problems.client_errors import InvalidParameterError

_LONGEST = 64
"""Characters of a name that are compared and shown: the comparison is quadratic."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InvalidParameterError:
    """Return the error of a name that is not known: it names the nearest known one, if one is near, and all.

    Args:
        kind: what it is the name of, for the message.
        name: as the client wrote it.
        known: all that there are; may be empty.
    """
    names = list(known)
    shown = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"
    if not names:
        return InvalidParameterError(f"unknown {kind} {shown!r}; this address takes none")
    folded = {known_name.lower(): known_name for known_name in names}
    nearest = [folded[found] for found in difflib.get_close_matches(name[:_LONGEST].lower(), folded, n=1, cutoff=0.1)]
    question = "".join(f"did you mean {found!r}? " for found in nearest)
    return InvalidParameterError(f"unknown {kind} {shown!r}; {question}known: {', '.join(names)}")


def given_twice(name: str, first: object, second: object) -> InvalidParameterError:
    """Return the error of a parameter with two values."""
    return InvalidParameterError(
        f"{name} is given twice, as {str(first)[:200]} and as {str(second)[:200]}; give it once"
    )
