"""Input `image_bytes`: encoded files, decoded and preprocessed as under /v1/classify."""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from imaging.formats.signatures import begins_as_image
from imaging.preprocess import Tensor
from service.catalogue.catalogue import Servable
from service.inference import Images, prepare
from service.inputs.base64_text import decode_base64
from service.inputs.forms import raw
from service.problems.client_errors import ImageTooLargeError, InvalidImageError, ProtocolError
from service.protocol_v2.datatypes import BYTES, unpack_bytes
from service.protocol_v2.documents import InputTensor
from service.protocol_v2.messages import shown
from service.protocol_v2.row_limits import RowLimits, check_count, check_datatype
from service.telemetry.stopwatch import Stopwatch

IMAGE_BYTES = "image_bytes"

_NOT_STRINGS = f"the data of input {IMAGE_BYTES!r} are not strings; expected base64 of each file"


def file_rows(
    tensor: InputTensor, binary: memoryview | None, numbers: bytes | None, servable: Servable, limits: RowLimits
) -> Images:
    """Return the images of an input `image_bytes`.

    Args:
        tensor: the input.
        binary: its binary data; None if the data are base64 in the JSON.
        numbers: its data as JSON, if they are a list without strings.
        servable: the version that runs them.
        limits: limits of the request.

    Raises:
        ProtocolError: its datatype, shape or size is invalid. Errors of a file are raised by `make`.
    """
    check_datatype(tensor, BYTES)
    if len(tensor.shape) not in {1, 2} or tensor.shape[1:] not in ([], [1]):
        raise ProtocolError(f"input {IMAGE_BYTES!r} has shape {shown(tensor.shape)}, expected [n] or [n, 1]")
    count = tensor.shape[0]
    check_count(count, servable.manifest, limits)  # checked first, because millions of elements take long
    if binary is None:
        if numbers is not None:
            raise ProtocolError(_NOT_STRINGS)
        return _files(_strings(tensor.data, count), _from_base64, servable, limits)
    return _files(unpack_bytes(binary, count), raw, servable, limits)


def begins_as_file(body: memoryview) -> bool:
    """Return whether a body begins like an image file."""
    return begins_as_image(bytes(body[:32]))


def raw_file_rows(body: memoryview, servable: Servable, limits: RowLimits) -> Images:
    """Return the image of a body that is a file."""
    return _files([bytes(body)], raw, servable, limits)


def _files(files: Sequence[bytes], extract: Callable[[bytes], bytes], servable: Servable, limits: RowLimits) -> Images:
    def make(watch: Stopwatch) -> Tensor:
        rows = []
        for index, file in enumerate(files):
            try:
                rows.append(prepare(servable, file, extract, limits.reading, watch))
            except (InvalidImageError, ImageTooLargeError) as error:
                raise type(error)(f"element {index} of {IMAGE_BYTES!r}: {error.detail}", **error.members) from error
        return rows[0] if len(rows) == 1 else cast(Tensor, np.concatenate(rows))

    return Images(len(files), make=make)


def _strings(data: object, count: int) -> list[bytes]:
    """Return the strings of a list, or of a list of lists of one."""
    elements = data if isinstance(data, list) else [data]
    if len(elements) != count:
        raise ProtocolError(f"input {IMAGE_BYTES!r} has {len(elements)} elements, but its shape has {count}")
    flat = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in elements]
    strings = [item for item in flat if isinstance(item, str)]
    if len(strings) != len(flat):
        raise ProtocolError(_NOT_STRINGS)
    return [item.encode() for item in strings]


def _from_base64(text: bytes) -> bytes:
    try:
        return decode_base64(text)
    except ValueError as error:
        raise ProtocolError(f"the data of input {IMAGE_BYTES!r} are not base64: {error}") from error
