"""JSON parser with limits before parsing: number of values, digits, escapes, and width of characters.

A parser holds the GIL throughout and creates an object for each value, up to 80 bytes for three bytes of JSON. Its time
and memory therefore depend on the number of values, not of bytes: one string of 16 MB takes 2 ms, eight million zeros
0.5 s. The numbers of a tensor are read by `service.protocol_v2.numbers` instead.
"""

import codecs
import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter, ValidationError

MAX_VALUES = 2000
"""Maximum number of values: 2000 of the slowest, integers of MAX_DIGITS, take 2 ms."""
MAX_DIGITS = 320
"""Maximum number of digits before a decimal point; float64 has up to 309. Time grows with their square: 2000 integers
of 4300 digits, the limit of parsers, would take 60 ms, and another 170 ms in the search for repeated members."""
LARGE = 262_144
"""Size in bytes above which JSON is not parsed on the event loop; below, parsing takes at most 2 ms."""
_ALL_WIDE = 2**20
"""Maximum size in bytes of JSON with non-ASCII characters: one of them makes its string up to 4 × as large."""
_ESCAPED = 8
"""In longer JSON, at most one byte in this many may be a backslash: escapes take five times as long as other bytes."""

_SHOWN = 60
"""Maximum number of characters of a member in a message."""

_ANYTHING = TypeAdapter[Any](Any)
_WIDE_ESCAPE = re.compile(rb"\\u(?!00)")
_SAMPLED = 40
_DIGITS_SAMPLED = re.compile(rb"[0-9]{%d}" % (MAX_DIGITS // _SAMPLED))
_LONG_NUMBERS = [re.compile(before + rb"-?[0-9]{%d}" % (MAX_DIGITS + 1)) for before in (b",", b":", rb"\[")]
_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class JsonError(ValueError):
    """The text is not JSON, or over a limit; the message names the limit and the remedy."""


def parse_json(text: bytes) -> Any:  # noqa: ANN401 -- JSON holds anything
    """Parse JSON in UTF-8, with or without a byte order mark.

    A repeated member is accepted if its values are equal, or if one is null.

    Raises:
        JsonError: the text is not JSON, has more than MAX_VALUES values, a number of more than MAX_DIGITS, non-ASCII
            characters or many escapes in a long text, or a member with two values, of which parsers would use the last.
    """
    for mark, encoding in _OTHER_ENCODINGS:
        if text.startswith(mark):
            raise JsonError(f"the JSON is {encoding}; send it as UTF-8")
    text = text.removeprefix(codecs.BOM_UTF8)
    if text[:1] == b"\0" or text[1:2] == b"\0":  # JSON begins with an ASCII character
        raise JsonError("the JSON is UTF-16 or UTF-32; send it as UTF-8")
    colons = text.count(b":")
    if max(colons, sum(map(text.count, (b",", b"[", b"{")))) > MAX_VALUES:
        raise JsonError(f"the JSON has more than {MAX_VALUES} values; only a tensor's list of numbers may have more")
    if _has_long_number(text):
        raise JsonError(f"the JSON has a number of more than {MAX_DIGITS} digits; round it to float64")
    if len(text) > _ALL_WIDE:
        if text.count(b"\\") > len(text) // _ESCAPED:
            raise JsonError(f"more than one byte in {_ESCAPED} of the JSON is a backslash; send base64 without escapes")
        if not text.isascii() or _WIDE_ESCAPE.search(text):
            raise JsonError(f"JSON of more than {_ALL_WIDE} bytes must be ASCII, such as base64 and numbers")
    try:
        value = _ANYTHING.validate_json(text)
    except ValidationError as error:
        raise JsonError(error.errors(include_url=False, include_input=False)[0]["msg"]) from error
    if colons == _count_members(value):
        return value
    del value  # colons in strings, or repeated members; only this parser reports all members
    return json.loads(text, object_pairs_hook=_without_repetition)


def _has_long_number(text: bytes) -> bool:
    """Return whether a number in a text with few values has more than MAX_DIGITS before its point.

    Such a number covers eight consecutive samples of every 40th byte, which happens once in three million in base64.
    Such digits after a comma, colon or bracket inside a string count as well.
    """
    if not _DIGITS_SAMPLED.search(text[::_SAMPLED]):
        return False
    dense = text.translate(None, b" \t\r\n")
    return any(number.search(dense) for number in _LONG_NUMBERS)


def _count_members(value: object) -> int:
    count, waiting = 0, [value]
    while waiting:
        match waiting.pop():
            case dict() as members:
                count += len(members)
                waiting.extend(members.values())
            case list() as items:
                waiting.extend(items)
    return count


def _without_repetition(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        first = members.get(name)
        if first is not None and value is not None and first != value:
            given = f"as {_shown(first)} and as {_shown(value)}"
            raise JsonError(f"{_shown(name)} is given twice, {given}; give it once")
        if first is None:
            members[name] = value
    return members


def _shown(value: object) -> str:
    return str(value)[:_SHOWN]
