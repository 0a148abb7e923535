"""Escaping of an artifact's text for log lines, error messages and JSON documents.

Names, manifest values, labels, and quotes of them in parser errors are untrusted. Escaped text cannot forge a log line,
control a terminal or reverse the text direction; truncated text cannot fill a log or a response.
"""

import unicodedata
from collections.abc import Iterator

SHOWN = 200
"""Maximum number of characters of a value in a message."""

LABEL_LIMIT = 1000
"""Maximum number of characters of a label."""

_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, lone surrogates, line and paragraph separators."""


def shown(value: object, limit: int = SHOWN) -> str:
    """Return `str(value)` escaped and truncated to `limit` characters, the last of which is then an ellipsis.

    Characters of all scripts are kept, including joiners (U+200D).
    """
    text = str(value)
    text = escaped(text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def quoted(text: str) -> str:
    """Return the first SHOWN characters of `text` as a quoted and escaped string."""
    return repr(text[:SHOWN])


def escaped(text: str) -> str:
    """Escape control characters, line separators, bidirectional controls and lone surrogates in `text`.

    The notation is Python's: `\\x1b`, `\\u202e`.
    """
    if text.isprintable():
        return text
    return "".join(_escape(character) for character in text)


def flaw_of_label(label: str) -> str | None:
    """Return the defect of a label as a clause after "label N "; None if it is valid."""
    if not label.strip():
        return "is empty"
    if len(label) > LABEL_LIMIT:
        return f"has {len(label)} characters, at most {LABEL_LIMIT} are allowed"
    for character in _unprintables(label):
        return f"contains U+{ord(character):04X}, a control character or line separator"
    return None


def _unprintables(text: str) -> Iterator[str]:
    return (character for character in text if _is_unprintable(character))


def _is_unprintable(character: str) -> bool:
    return character in _BIDI_CONTROLS or unicodedata.category(character) in _UNPRINTABLE


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode() if _is_unprintable(character) else character
