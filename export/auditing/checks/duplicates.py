"""Tensors that are stored more than once, with what that wastes."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import onnx_ir as ir

from export.auditing.checks.base import of_tensor
from export.auditing.errors import UnreadableModelError
from export.auditing.findings import Remark
from export.auditing.names import type_name
from export.auditing.subject import Subject

SMALLEST = 256
"""Bytes. What is smaller is shapes, axes and scalars: listing them would hide the rest."""


def check_duplicates(subject: Subject) -> Iterator[Remark]:
    """Yield a warning for each set of stored tensors of one type, one shape and the same bytes.

    Only tensors that another one resembles in type and shape are read, one at a time. Strings, which no image network
    stores, are left out.

    Raises:
        UnreadableModelError: a tensor's data cannot be read.
    """
    alike: dict[tuple[ir.DataType, tuple[int, ...]], list[ir.Value]] = defaultdict(list)
    for value in subject.initializers():
        tensor = value.const_value
        if tensor is not None and tensor.dtype is not ir.DataType.STRING and tensor.nbytes >= SMALLEST:
            alike[tensor.dtype, tuple(tensor.shape.numpy())].append(value)
    for (dtype, shape), values in alike.items():
        for same in _same_bytes(values) if len(values) > 1 else ():
            others = ", ".join(str(value.name) for value in same[1:4]) + (", …" if len(same) > 4 else "")
            yield of_tensor(
                same[0],
                "warning",
                f"{type_name(dtype)} {list(shape)} stored {len(same)} times, {_wasted(same)} bytes wasted; "
                f"also {others}",
                "let them share one initialiser",
            )


def _same_bytes(values: Iterable[ir.Value]) -> Iterator[list[ir.Value]]:
    by_hash: dict[bytes, list[ir.Value]] = defaultdict(list)
    for value in values:
        by_hash[hashlib.sha256(_read(value)).digest()].append(value)
    return (same for same in by_hash.values() if len(same) > 1)


def _read(value: ir.Value) -> bytes:
    tensor = value.const_value
    assert tensor is not None, "only values that hold a tensor were gathered"
    try:
        return tensor.tobytes()
    except (OSError, ValueError) as error:
        raise UnreadableModelError(f"cannot read the data of {value.name}: {error}") from error


def _wasted(same: list[ir.Value]) -> int:
    return sum(value.const_value.nbytes for value in same[1:] if value.const_value is not None)
