"""Parser for a tensor's numbers in JSON, in pieces, into an array.

In Python lists, a number of two bytes takes up to 40 bytes, a pixel in its own list 100 bytes, and the GIL is held
until all of them are created. Therefore the list is cut out of the document before parsing; its brackets and commas are
compared with those of the shape; and its numbers are parsed about ten thousand at a time.
"""

import re
import time
from collections.abc import Callable
from itertools import islice
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from service.problems.client_errors import ProtocolError
from service.protocol_v2.messages import shown

_DATA = re.compile(rb'"data"\s*:\s*\[')
_ENOUGH = 16
"""Maximum number of keys `data` that are read; valid requests have one."""
_PIECE = 65_536
"""Number of bytes parsed at once: 2 ms."""
_TURN, _PAUSE = 8 * _PIECE, 0.0002
"""Number of bytes after which this thread sleeps, and the duration in seconds. NumPy releases the GIL with every piece,
but too briefly for a waiting thread on an idle core to acquire it."""
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[],"))
_BRACKETS_TO_SPACES = bytes.maketrans(b"[]", b"  ")
_LIST = TypeAdapter(list[Any])


def without_numbers(document: bytes) -> tuple[bytes, list[bytes]]:
    """Return a JSON document with its lists of numbers emptied, and those lists.

    A list of numbers is the value of a key `data`, from `[` to `]`, without strings and objects. Its contents are not
    checked here.
    """
    lists: list[slice] = []
    for key in islice(_DATA.finditer(document), _ENOUGH):
        if document[key.start() - 1 : key.start()] == b"\\":
            continue  # inside a string
        start = key.end() - 1
        others = [at for mark in (b'"', b"{", b"}") if (at := document.find(mark, start)) >= 0]
        last = document.rfind(b"]", start, min(others, default=len(document)))
        if last >= 0:
            lists.append(slice(start, last + 1))
    if not lists:
        return document, []
    starts = [0, *(found.stop for found in lists)]
    ends = [*(found.start for found in lists), len(document)]
    rest = b"[]".join(document[start:end] for start, end in zip(starts, ends, strict=True))
    return rest, [document[found] for found in lists]


def read_numbers(text: bytes, shape: tuple[int, ...], dtype: str, name: str) -> NDArray[Any]:
    """Parse a JSON list: flat in row order, nested like the shape, or without the outer list if n is 1.

    Args:
        text: the list, as JSON.
        shape: [n, …], all at least 1.
        dtype: uint8 or float32.
        name: name of the input, for messages.

    Raises:
        ProtocolError: the number of elements or the nesting differs from the shape, or an element is not a number of
            the dtype.
    """
    size = prod(shape)
    _check_structure(text, shape, name)
    array = np.empty(size, dtype)
    convert = _to_uint8 if dtype == "uint8" else _to_float32
    at = done = 0
    while done < size:
        comma = text.find(b",", at + _PIECE)
        end = len(text) if comma < 0 else comma
        piece = text[at:end].translate(_BRACKETS_TO_SPACES)
        values = _parsed(piece, convert)
        if values is None:
            raise _first_wrong(piece, done, convert, dtype, name)
        array[done : done + len(values)] = values
        if (end + 1) // _TURN > at // _TURN:
            time.sleep(_PAUSE)
        at, done = end + 1, done + len(values)
    return array.reshape(shape)


def _check_structure(text: bytes, shape: tuple[int, ...], name: str) -> None:
    size = prod(shape)
    expected = f"expected {size} numbers for shape {list(shape)}, flat or nested"
    structure = text.translate(None, _NOT_STRUCTURE)
    count = structure.count(b",") + 1
    if count == 1 and not text.strip(b"[] \t\r\n"):
        count = 0
    if count != size:
        raise ProtocolError(f"the data of input {name!r} are {count} elements; {expected}")
    one_image = [shape[1:]] if shape[0] == 1 else []
    if not any(structure == _structure(form) for form in ((size,), shape, *one_image)):
        raise ProtocolError(f"the data of input {name!r} are not nested like their shape; {expected}")


def _structure(shape: tuple[int, ...]) -> bytes:
    """Return the brackets and commas of a nested list."""
    structure = b""
    for side in reversed(shape):
        structure = b"[" + (structure + b",") * (side - 1) + structure + b"]"  # join takes 80 bytes a part
    return structure


def _parsed(piece: bytes, convert: Callable[[list[Any]], Any]) -> Any:  # noqa: ANN401 -- what an array takes
    """Return the numbers of a piece, None if one of them is invalid."""
    try:
        return convert(_LIST.validate_json(b"[" + piece + b"]"))
    except (ValidationError, ValueError, OverflowError):
        return None


def _to_uint8(values: list[Any]) -> Any:  # noqa: ANN401 -- what an array takes
    """Raises ValueError unless all are integers from 0 to 255."""
    if set(map(type, values)) != {int}:
        raise ValueError
    return np.frombuffer(bytes(values), np.uint8)


def _to_float32(values: list[Any]) -> Any:  # noqa: ANN401 -- what an array takes
    """Raises ValueError unless all are numbers, and finite as float32; OverflowError if one is not as float64."""
    if not set(map(type, values)) <= {int, float}:
        raise ValueError
    with np.errstate(over="ignore"):
        numbers = np.array(values, np.float64).astype(np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError
    return numbers


def _first_wrong(piece: bytes, done: int, convert: Callable[[list[Any]], Any], dtype: str, name: str) -> ProtocolError:
    holds = "integers from 0 to 255" if dtype == "uint8" else "numbers that are finite as float32"
    for index, element in enumerate(piece.split(b",")):
        if _parsed(element, convert) is None:
            text = element.strip().decode("utf-8", "replace")
            return ProtocolError(
                f"element {done + index} of the data of input {name!r} is {shown(text)}; expected {holds}"
            )
    raise AssertionError("the piece has no invalid number")
