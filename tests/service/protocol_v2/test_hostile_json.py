"""JSON that is not a request, or is expensive to parse."""

import gzip
import time

import pytest
from fastapi.testclient import TestClient

from service.inputs.json_text import LARGE
from service.protocol_v2.request import is_heavy
from tests.service.protocol_v2.wire import (
    FILE,
    FLAT,
    HEADER,
    IMAGE,
    MEAN,
    error_message,
    send,
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "body: Invalid JSON"),
        (b"[]", "body: "),
        (b"{}", "inputs: Field required"),
        (b'{"inputs": 1}', "inputs: "),
        (b'{"inputs": []}', "the inputs are none"),
        (b'{"inputs": [{"name": "image"}]}', "inputs.0.shape: Field required"),
        (b'{"id": 7, "inputs": []}', "id: "),
        (b"[" * 100_000, "body: "),
        (b"\xff\xfe", "body: "),
    ],
)
def test_json_that_is_not_a_request_is_400_and_names_the_member(client: TestClient, body: bytes, expected: str) -> None:
    assert error_message(client.post(MEAN, content=body), 400).startswith(expected)


def test_more_elements_than_the_shape_has_are_400_without_parsing_them(client: TestClient) -> None:
    many = bytes(800_000)  # 200,000 empty elements
    document = {"inputs": [{**FILE, "parameters": {"binary_data_size": len(many)}}]}
    assert "799996 bytes of a BYTES tensor follow the 1 elements" in error_message(send(client, document, many), 400)
    strings = {"inputs": [{**FILE, "data": ["x"] * 1000}]}
    assert "1000 elements, but its shape has 1" in error_message(client.post(MEAN, json=strings), 400)
    many_strings = {"inputs": [{**FILE, "data": ["x"] * 100_000}]}
    assert "more than 2000 values" in error_message(client.post(MEAN, json=many_strings), 400)


@pytest.mark.parametrize(
    ("body", "headers", "heavy"),
    [
        (bytes(LARGE), {}, False),
        (bytes(LARGE + 1), {}, True),
        (bytes(LARGE + 1), {HEADER: "100"}, False),
        (bytes(LARGE + 1), {HEADER: "0"}, False),
        (bytes(LARGE + 1), {HEADER: str(LARGE + 1)}, True),
        (b"x", {"Content-Encoding": "gzip"}, True),
        (b"x", {HEADER: "9" * 5000}, False),
    ],
)
def test_expensive_bodies_are_parsed_on_another_thread(body: bytes, headers: dict[str, str], heavy: bool) -> None:
    assert is_heavy(body, headers) is heavy


def test_hostile_json_is_refused_quickly(client: TestClient) -> None:
    """A naive parser takes seconds and gigabytes: one error per element, or an array as wide as the longest string."""
    many = b"[" + b"0," * 240_000 + b"0]"
    strings = b'["' + b"x" * 100_000 + b'",' + b'"a",' * 5000 + b'"a"]'
    bodies = [
        b'{"inputs":%s}' % many,
        b'{"inputs":[],"outputs":%s}' % many,
        b'{"inputs":[{"name":"image","datatype":"UINT8","data":[],"shape":%s}]}' % many.replace(b"0", b'"a"'),
        b'{"inputs":[{"name":"image","shape":[1,8,6,3],"datatype":"UINT8","data":%s}]}' % strings,
        b'{"inputs":[{"name":"image","shape":[1,8,6,3],"datatype":"UINT8","data":%s}]}' % many,
        b'{"inputs":[{"name":"image","shape":[1,8,6,3],"datatype":"UINT8","data":%s}]}' % many.replace(b"0", b"{}"),
    ]
    for body in bodies:
        for content, headers in ((body, {}), (gzip.compress(body), {"Content-Encoding": "gzip"})):
            start = time.process_time()
            assert len(error_message(client.post(MEAN, content=content, headers=headers), 400)) < 1000
            assert time.process_time() - start < 1


def test_the_numbers_of_tensors_and_axes_are_limited(client: TestClient) -> None:
    tensor = {**IMAGE, "data": FLAT}
    assert "inputs: List should have at most 16 items" in error_message(
        client.post(MEAN, json={"inputs": [tensor] * 17}), 400
    )
    assert "the inputs are 'image', 'image'; expected either" in error_message(
        client.post(MEAN, json={"inputs": [tensor] * 2}), 400
    )
    outputs = [{"name": "logits"}] * 17
    assert "outputs: List should have" in error_message(
        client.post(MEAN, json={"inputs": [tensor], "outputs": outputs}), 400
    )
    shaped = {**tensor, "shape": [1] * 17}
    assert "inputs.0.shape: List should have" in error_message(client.post(MEAN, json={"inputs": [shaped]}), 400)
    long = {**tensor, "name": "x" * 100_000, "datatype": "y" * 100_000}
    assert len(error_message(client.post(MEAN, json={"inputs": [long]}), 400)) < 400
