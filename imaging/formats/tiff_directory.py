"""First directory of a TIFF or BigTIFF file, with tags that are read on demand."""

import struct

import numpy as np
from numpy.typing import NDArray

from imaging.errors import NotAnImageError, cut_off

_TYPES = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 11: "f4", 12: "f8", 13: "u4", 16: "u8", 18: "u8"}
_BYTES, _RATIONAL, _SIGNED_RATIONAL = {1, 2, 6, 7}, 5, 10
_MAX_TAGS = 65_535


class Directory:
    """Tags by number.

    Args:
        data: the file.

    Raises:
        NotAnImageError: the directory is outside the file.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = "<" if data[:2] == b"II" else ">"
        big = data[2:4] in {b"+\0", b"\0+"}
        self._value_size = 8 if big else 4
        count_kind, entry = ("Q", "HHQ8s") if big else ("H", "HHI4s")
        try:
            (start,) = self._unpack("Q" if big else "I", 8 if big else 4)
            (count,) = self._unpack(count_kind, start)
        except struct.error as error:
            raise cut_off() from error
        start += struct.calcsize("<" + count_kind)
        size = struct.calcsize("<" + entry)
        if count > _MAX_TAGS or start + count * size > len(data):
            raise cut_off()
        found = struct.iter_unpack(self.order + entry, data[start : start + count * size])
        self._entries = {tag: (kind, length, value) for tag, kind, length, value in found}

    def _unpack(self, kinds: str, position: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + kinds, self.data, position)

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def raw(self, tag: int) -> bytes:
        """Return the bytes of a tag; empty if it is missing."""
        if tag not in self._entries:
            return b""
        kind, count, value = self._entries[tag]
        size = count * (1 if kind in _BYTES else 8 if kind in {_RATIONAL, _SIGNED_RATIONAL} else self._item_size(tag))
        if size <= self._value_size:
            return bytes(value[:size])
        (start,) = struct.unpack(self.order + ("I" if self._value_size == 4 else "Q"), value)
        if start + size > len(self.data):
            raise cut_off()
        return self.data[start : start + size]

    def _item_size(self, tag: int) -> int:
        kind = self._entries[tag][0]
        if kind not in _TYPES:
            raise NotAnImageError(f"the TIFF's tag {tag} has the unknown type {kind}; save the image again")
        return np.dtype(_TYPES[kind]).itemsize

    def numbers(self, tag: int) -> NDArray[np.int64] | None:
        """Return the integers of a tag; None if it is missing."""
        if tag not in self._entries:
            return None
        raw = self.raw(tag)
        size = self._item_size(tag)
        return np.frombuffer(raw, self.order + _TYPES[self._entries[tag][0]], len(raw) // size).astype(np.int64)

    def number(self, tag: int, default: int) -> int:
        """Return the first integer of a tag, or `default` if it is missing."""
        found = self.numbers(tag)
        return default if found is None or not len(found) else int(found[0])

    def fractions(self, tag: int, default: tuple[float, ...]) -> tuple[float, ...]:
        """Return the rational numbers of a tag if there are as many as in `default`; otherwise `default`."""
        raw = self.raw(tag)
        if len(raw) != 8 * len(default) or self._entries[tag][0] != _RATIONAL:
            return default
        parts = struct.unpack(f"{self.order}{2 * len(default)}I", raw)
        return tuple(over / under if under else 0.0 for over, under in zip(parts[::2], parts[1::2], strict=True))
