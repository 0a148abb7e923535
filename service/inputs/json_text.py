"""JSON of a request, bounded before it is parsed: in values, and in the width of its characters.

A parser holds the interpreter lock from the first byte to the last and makes an object of each value, up to 80 bytes
for three of JSON. So what bounds its time and memory is the number of values, not of bytes: one string of 16 MB takes
2 ms, eight million zeros half a second. The numbers of a tensor are read by `service.protocol_v2.numbers` instead.
"""

import codecs
import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter, ValidationError

MAX_VALUES = 2000
"""Two thousand of the slowest values, integers of 4300 digits, take 60 ms."""
LARGE = 262_144
"""Bytes that are too many to be parsed on the event loop; within them it takes 2 ms at most."""
_ALL_WIDE = 2**20
"""Bytes of JSON in which characters may be wider than a byte: one of them makes its string up to 4 × as large."""

_SHOWN = 60
"""Characters of a member in a message."""

_ANYTHING = TypeAdapter[Any](Any)
_WIDE_ESCAPE = re.compile(rb"\\u(?!00)")
_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class JsonError(ValueError):
    """The text is not JSON, or over a limit; the message says which, and what would be right."""


def parse_json(text: bytes) -> Any:  # noqa: ANN401 -- JSON holds anything
    """Return the value of a JSON text in UTF-8, with or without a byte order mark.

    A member that is there twice has the same value each time, or is null once.

    Raises:
        JsonError: it is not that, has more than MAX_VALUES values, wide characters among much text, or a member with
            two values, of which parsers would take the last.
    """
    for mark, encoding in _OTHER_ENCODINGS:
        if text.startswith(mark):
            raise JsonError(f"the JSON is {encoding}; send it as UTF-8")
    text = text.removeprefix(codecs.BOM_UTF8)
    if text[:1] == b"\0" or text[1:2] == b"\0":  # JSON begins with an ASCII character
        raise JsonError("the JSON is UTF-16 or UTF-32; send it as UTF-8")
    if sum(map(text.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise JsonError(f"the JSON has more than {MAX_VALUES} values; only a tensor's list of numbers may have more")
    if len(text) > _ALL_WIDE and (not text.isascii() or _WIDE_ESCAPE.search(text)):
        raise JsonError(f"JSON of more than {_ALL_WIDE} bytes has to be ASCII; base64 and numbers are")
    try:
        value = _ANYTHING.validate_json(text)
    except ValidationError as error:
        raise JsonError(error.errors(include_url=False, include_input=False)[0]["msg"]) from error
    if text.count(b":") == _count_members(value):
        return value
    del value  # there are colons in strings, or members that are there twice; only this parser shows all members
    return json.loads(text, object_pairs_hook=_without_repetition)


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
