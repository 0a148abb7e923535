"""Inputs of an inference request: `image` or `image_bytes`, in JSON, binary or raw."""

from service.catalogue.catalogue import Servable
from service.inference import Images
from service.problems.client_errors import ProtocolError
from service.protocol_v2.documents import InputTensor
from service.protocol_v2.encoded_images import IMAGE_BYTES, begins_as_file, file_rows, raw_file_rows
from service.protocol_v2.messages import shown
from service.protocol_v2.request import ParsedRequest
from service.protocol_v2.row_limits import RowLimits
from service.protocol_v2.tensors import IMAGE, raw_tensor_rows, tensor_rows

SIZE = "binary_data_size"


def read_rows(parsed: ParsedRequest, servable: Servable, limits: RowLimits) -> Images:
    """Return the images of a request.

    A raw body is a file according to its media type or first bytes; otherwise it is rows of the input tensor.

    Args:
        parsed: the request.
        servable: the version that runs it.
        limits: limits of this request.

    Raises:
        ProtocolError: the request does not have exactly one of the inputs, or the datatype, shape or size is invalid.
            Errors in a file, or in JSON data, are raised by `make`.
    """
    if parsed.raw:
        if parsed.media_type.lower().startswith("image/") or begins_as_file(parsed.tensors):
            return raw_file_rows(parsed.tensors, servable, limits)
        return raw_tensor_rows(parsed.tensors, servable.manifest, limits)
    inputs = parsed.request.inputs
    if len(inputs) != 1 or inputs[0].name not in {IMAGE, IMAGE_BYTES}:
        names = ", ".join(shown(tensor.name) for tensor in inputs) or "none"
        raise ProtocolError(f"the inputs are {names}; expected either {IMAGE!r} or {IMAGE_BYTES!r}, once")
    tensor = inputs[0]
    binary = _binary_part(tensor, parsed.tensors)
    if len(parsed.numbers) > 1:
        raise ProtocolError("the body has several lists of numbers `data`; expected one")
    numbers = parsed.numbers[0] if parsed.numbers and tensor.data == [] else None
    if tensor.name == IMAGE:
        return tensor_rows(tensor, binary, numbers, servable.manifest, limits)
    return file_rows(tensor, binary, numbers, servable, limits)


def _binary_part(tensor: InputTensor, tensors: memoryview) -> memoryview | None:
    """Return the binary data of the only input, or None if its data are in the JSON."""
    if "shared_memory_region" in tensor.parameters:
        raise ProtocolError("shared memory is not supported; send the data in the request")
    size = tensor.parameters.get(SIZE)
    if size is None:
        if tensor.data is None:
            raise ProtocolError(f"input {tensor.name!r} has neither data nor the parameter {SIZE}; send one of them")
        if tensors:
            raise ProtocolError(f"{len(tensors)} bytes follow the JSON, but no input has the parameter {SIZE}")
        return None
    if tensor.data is not None:
        raise ProtocolError(f"input {tensor.name!r} has both data and the parameter {SIZE}; send one of them")
    if type(size) is not int or size != len(tensors):
        raise ProtocolError(f"input {tensor.name!r} has {SIZE} {shown(size)}, but {len(tensors)} bytes follow the JSON")
    return tensors
