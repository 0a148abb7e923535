"""Input `image`: the artifact's input tensor, as binary data or as numbers in JSON.

Shapes: n images of the request, H, W of the manifest's input; a row is one image, [H, W, 3] or [3, H, W].
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import cast

import numpy as np

from artifact import Manifest
from imaging.preprocess import Tensor
from service.inference import Images
from service.problems.client_errors import ProtocolError
from service.protocol_v2.datatypes import datatype_of
from service.protocol_v2.documents import InputTensor
from service.protocol_v2.messages import shown
from service.protocol_v2.numbers import read_numbers
from service.protocol_v2.row_limits import RowLimits, check_count, check_datatype
from service.telemetry.stopwatch import Stopwatch

IMAGE = "image"


def tensor_rows(
    tensor: InputTensor, binary: memoryview | None, numbers: bytes | None, manifest: Manifest, limits: RowLimits
) -> Images:
    """Return the images of an input `image`.

    Args:
        tensor: the input.
        binary: its data; None if they are in the JSON.
        numbers: its data as JSON; None if they are not a list of numbers.
        manifest: describes the input.
        limits: limits of the request.

    Raises:
        ProtocolError: its datatype, shape or size is invalid. Errors of numbers in JSON are raised by `make`.
    """
    if binary is None and tensor.datatype in {"FP16", "BF16"}:
        raise ProtocolError(f"{tensor.datatype} has no JSON form; send {datatype_of(manifest.input)}")
    check_datatype(tensor, datatype_of(manifest.input))
    row = row_shape(manifest)
    if tuple(tensor.shape[1:]) != row or not tensor.shape:
        raise ProtocolError(
            f"input {IMAGE!r} has shape {shown(tensor.shape)}, expected [n, {', '.join(map(str, row))}]"
        )
    check_count(tensor.shape[0], manifest, limits)
    shape = tuple(tensor.shape)
    if binary is None:
        if numbers is None:
            raise _not_numbers(tensor.data, shape)
        return Images(shape[0], make=partial(_from_json, numbers, shape, manifest))
    expected = math.prod(shape) * np.dtype(manifest.input.dtype).itemsize
    if len(binary) != expected:
        raise ProtocolError(f"input {IMAGE!r} has {len(binary)} bytes, its shape {tensor.shape} needs {expected}")
    return Images(shape[0], _from_binary(binary, shape, manifest))


def raw_tensor_rows(body: memoryview, manifest: Manifest, limits: RowLimits) -> Images:
    """Return the images of a body that consists of rows.

    Raises:
        ProtocolError: the body does not consist of whole rows, or has too many.
    """
    row = row_shape(manifest)
    size = math.prod(row) * np.dtype(manifest.input.dtype).itemsize
    if not body or len(body) % size:
        raise ProtocolError(
            f"a raw body of {len(body)} bytes is neither an image file nor whole images of {size} bytes, "
            f"{datatype_of(manifest.input)} {list(row)}"
        )
    shape = (len(body) // size, *row)
    check_count(shape[0], manifest, limits)
    return Images(shape[0], _from_binary(body, shape, manifest))


def row_shape(manifest: Manifest) -> tuple[int, int, int]:
    """Return the shape of one image of the input tensor."""
    image = manifest.input
    return (image.height, image.width, 3) if image.layout == "NHWC" else (3, image.height, image.width)


def _from_binary(data: memoryview, shape: tuple[int, ...], manifest: Manifest) -> Tensor:
    dtype = np.dtype(manifest.input.dtype).newbyteorder("<")
    found = np.frombuffer(data, dtype).reshape(shape)
    # The tensor after the JSON may be unaligned; runtimes read aligned numbers in native byte order.
    return _finite(cast(Tensor, np.require(found, manifest.input.dtype, "A")))


def _not_numbers(data: object, shape: tuple[int, ...]) -> ProtocolError:
    """Return the error of data that are not a list of numbers."""
    wrong = [(index, leaf) for index, leaf in enumerate(_leaves(data)) if type(leaf) not in (int, float)]
    found = f"have {shown(wrong[0][1])} as element {wrong[0][0]}" if wrong else "are not a list"
    expected = f"expected a list of {math.prod(shape)} numbers for shape {list(shape)}, flat or nested"
    return ProtocolError(f"the data of input {IMAGE!r} {found}; {expected}")


def _leaves(data: object) -> Iterator[object]:
    if isinstance(data, list):
        for item in data:
            yield from _leaves(item)
    else:
        yield data


def _from_json(numbers: bytes, shape: tuple[int, ...], manifest: Manifest, watch: Stopwatch) -> Tensor:
    tensor = read_numbers(numbers, shape, manifest.input.dtype, IMAGE)
    watch.lap("decode")
    return cast(Tensor, tensor)


def _finite(tensor: Tensor) -> Tensor:
    if tensor.dtype != np.uint8 and not np.isfinite(tensor).all():
        raise ProtocolError(f"input {IMAGE!r} has values that are not finite float32 numbers; send finite ones")
    return tensor
