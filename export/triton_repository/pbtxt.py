"""Text format of protocol buffers, for Triton's config.pbtxt (protobuf.dev, "Text Format Language")."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from google.protobuf.text_encoding import CEscape  # type: ignore[import-untyped]  # protobuf ships no types


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
        return f'"{CEscape(value, as_utf8=False)}"'
    assert isinstance(value, int | float)
    return str(value)
