"""Datatypes of the protocol, and the wire format of BYTES: length (4 bytes, little-endian) and data per element."""

import struct
from collections.abc import Iterable

from artifact import ImageInput
from service.problems.client_errors import ProtocolError

BYTES = "BYTES"
LOGITS = "FP32"

_NAMES = {"uint8": "UINT8", "float32": "FP32"}
_LENGTH = struct.Struct("<I")


def datatype_of(image: ImageInput) -> str:
    """Return the protocol's name of an input's dtype."""
    return _NAMES[image.dtype]


def pack_bytes(elements: Iterable[bytes]) -> bytes:
    """Return the elements as one binary tensor."""
    return b"".join(_LENGTH.pack(len(element)) + element for element in elements)


def unpack_bytes(tensor: memoryview, count: int) -> list[bytes]:
    """Return the elements of a binary tensor that has `count` of them.

    Raises:
        ProtocolError: the number of elements differs, or the last element is truncated.
    """
    elements: list[bytes] = []
    start = 0
    for index in range(count):
        content = start + _LENGTH.size
        length = _LENGTH.unpack_from(tensor, start)[0] if content <= len(tensor) else 0
        if content + length > len(tensor):
            raise ProtocolError(
                f"element {index} of a BYTES tensor exceeds its {len(tensor)} bytes; expected 4 bytes of length, "
                "little-endian, before each element"
            )
        elements.append(bytes(tensor[content : content + length]))
        start = content + length
    if start < len(tensor):
        raise ProtocolError(f"{len(tensor) - start} bytes of a BYTES tensor follow the {count} elements of its shape")
    return elements
