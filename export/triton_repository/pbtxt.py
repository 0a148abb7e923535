"""Text format of protocol buffers, for Triton's config.pbtxt (protobuf.dev, "Text Format Language")."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias


class Symbol(str):
    """A value of an enumeration, which is written without quotes."""

    __slots__ = ()


Value: TypeAlias = "Symbol | str | bool | int | float | Mapping[str, Value] | Sequence[Value]"

Fields = Mapping[str, Value]
"""Fields of a message, in order; a sequence is a repeated field."""


def entries(pairs: Mapping[str, Value]) -> list[Fields]:
    """Return the value of a map field."""
    return [{"key": key, "value": value} for key, value in pairs.items()]


def to_text(message: Fields) -> str:
    """Return a message in the text format."""
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Fields) -> Iterator[str]:
    for name, value in message.items():
        if isinstance(value, Mapping):
            yield f"{name} {{"
            yield from (f"  {line}" for line in _lines(value))
            yield "}"
        elif isinstance(value, str) or not isinstance(value, Sequence):
            yield f"{name}: {_scalar(value)}"
        elif any(isinstance(item, Mapping) for item in value):
            for item in value:
                yield from _lines({name: item})
        else:
            yield f"{name}: [{', '.join(map(_scalar, value))}]"


def _scalar(value: Value) -> str:
    if isinstance(value, Symbol):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(map(_character, value)) + '"'
    assert isinstance(value, int | float)
    return str(value)


def _character(character: str) -> str:
    """Return a character of a quoted string; characters other than printable ASCII become octal bytes of UTF-8."""
    if character in '"\\':
        return f"\\{character}"
    if " " <= character <= "~":
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode())
