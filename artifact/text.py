"""Text that comes out of an artifact, made fit for a log line, an error message and a JSON document.

Anyone with write access to a repository can write this text: names, manifest values, labels, and what parsers quote of
them. Escaped, it cannot forge a line of a log, control a terminal or reverse the direction of reading; truncated, it
cannot fill a log or an answer.
"""

import unicodedata
from collections.abc import Iterator

SHOWN = 200
"""Characters of one value in a message."""

LABEL_LIMIT = 1000
"""Characters of one label."""

_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, lone surrogates, line and paragraph separators."""


def shown(value: object, limit: int = SHOWN) -> str:
    """Return `str(value)` escaped, and cut to `limit` characters with an ellipsis as the last one.

    Letters and signs of any script are kept, and so are format characters that join them (U+200D).
    """
    text = str(value)
    text = escaped(text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def escaped(text: str) -> str:
    """Return `text` with control characters, separators of lines, bidirectional controls and lone surrogates escaped.

    They are written as Python does: `\\x1b`, `\\u202e`.
    """
    if text.isprintable():
        return text
    return "".join(_escape(character) for character in text)


def flaw_of_label(label: str) -> str | None:
    """Return what is wrong with a label, to go on after "label N "; None if nothing is."""
    if not label.strip():
        return "is empty"
    if len(label) > LABEL_LIMIT:
        return f"has {len(label)} characters, at most {LABEL_LIMIT} are allowed"
    for character in _unprintables(label):
        return f"holds U+{ord(character):04X}, a control character or separator of lines"
    return None


def _unprintables(text: str) -> Iterator[str]:
    return (character for character in text if _is_unprintable(character))


def _is_unprintable(character: str) -> bool:
    return character in _BIDI_CONTROLS or unicodedata.category(character) in _UNPRINTABLE


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode() if _is_unprintable(character) else character
