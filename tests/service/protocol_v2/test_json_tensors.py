"""Tensors in JSON: flat or nested numbers, files in base64, null members, and refusals."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.inputs.json_text import LARGE
from tests.service.protocol_v2.answers import expected_logits, pixels
from tests.service.protocol_v2.wire import (
    FILE,
    FLAT,
    FLOAT,
    IMAGE,
    MEAN,
    PNG,
    error_message,
    logits,
    send,
    send_raw,
)


def test_json_numbers_may_be_flat_or_nested(client: TestClient) -> None:
    images = pixels(1)
    for data in (images.tolist(), images.ravel().tolist(), images[0].tolist()):
        found = logits(client.post(MEAN, json={"inputs": [{**IMAGE, "data": data}]}))
        np.testing.assert_allclose(found, expected_logits(images)[0], rtol=1e-5)


def test_large_json_is_accepted(client: TestClient) -> None:
    body = json.dumps({"inputs": [{**IMAGE, "data": pixels(1).tolist()}]}).encode() + b" " * LARGE
    np.testing.assert_allclose(logits(client.post(MEAN, content=body)), expected_logits(pixels(1))[0], rtol=1e-5)


def test_files_in_json_are_base64(client: TestClient) -> None:
    for data in ([base64.b64encode(PNG).decode()], [[base64.b64encode(PNG).decode()]]):
        found = logits(client.post(MEAN, json={"inputs": [{**FILE, "data": data}]}))
        np.testing.assert_allclose(found, expected_logits(pixels(1))[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "pixels"}, "the inputs are 'pixels'; expected either 'image' or 'image_bytes'"),
        ({"datatype": "FP32"}, "datatype 'FP32', expected UINT8"),
        ({"datatype": "FP16"}, "FP16 has no JSON form; send UINT8"),
        ({"shape": [1, 8, 6]}, "shape [1, 8, 6], expected [n, 8, 6, 3]"),
        ({"shape": []}, "shape []"),
        ({"shape": [1, 3, 8, 6]}, "expected [n, 8, 6, 3]"),
        ({"shape": [0, 8, 6, 3], "data": []}, "0 images in one request"),
        ({"shape": [-1, 8, 6, 3]}, "-1 images"),
        ({"shape": [10**30, 8, 6, 3]}, "takes 1 to 8"),
        ({"shape": ["1", 8, 6, 3]}, "inputs.0.shape.0"),
        ({"data": None}, "neither data nor the parameter binary_data_size"),
        ({"data": FLAT[1:]}, "are 143 elements; expected 144 numbers"),
        (
            {"data": [*FLAT[1:], 256]},
            "element 143 of the data of input 'image' is '256'; expected integers from 0 to 255",
        ),
        ({"data": [*FLAT[1:], -1]}, "element 143 of the data of input 'image' is '-1'"),
        ({"data": [*FLAT[1:], 0.5]}, "element 143 of the data of input 'image' is '0.5'"),
        ({"data": [*FLAT[1:], "1"]}, "have '1' as element 143; expected a list of 144 numbers"),
        ({"data": [*FLAT[1:], None]}, "element 143 of the data of input 'image' is 'null'"),
        ({"data": [*FLAT[1:], 10**30]}, "element 143 of the data of input 'image' is '1000000"),
        ({"data": [FLAT, [1]]}, "are 145 elements"),
        ({"data": {"a": 1}}, "have {'a': 1} as element 0"),
        ({"data": [True] * 144}, "element 0 of the data of input 'image' is 'true'"),
        ({"data": 7}, "are not a list; expected a list of 144 numbers"),
        ({"data": "AAAA"}, "have 'AAAA' as element 0"),
        ({"data": []}, "are 0 elements"),
        ({"data": [[], []]}, "are 2 elements"),
        (
            {"data": [[0] * 12] * 12},
            "are not nested like their shape; expected 144 numbers for shape [1, 8, 6, 3]",
        ),
        ({"data": np.zeros((1, 3, 8, 6), int).tolist()}, "are not nested like"),
        ({"data": np.zeros((8, 3, 6), int).tolist()}, "are not nested like"),
        ({"data": [[0, 0, 0], *FLAT[3:]]}, "are not nested like"),
        ({"data": [*FLAT[2:], [], 0]}, "are not nested like"),
        ({"data": [*FLAT[1:], [0]]}, "are not nested like"),
        ({"data": [*FLAT[1:], False]}, "element 143 of the data of input 'image' is 'false'"),
        ({"data": [{"a": 1}] * 144}, "have {'a': 1} as element 0"),
        ({"parameters": {"binary_data_size": 144}}, "both data and"),
        ({"data": None, "parameters": {"binary_data_size": 144}}, "but 0 bytes follow the JSON"),
        ({"data": None, "parameters": {"binary_data_size": True}}, "binary_data_size True"),
        ({"parameters": {"shared_memory_region": "x"}}, "shared memory is not supported"),
    ],
)
def test_an_invalid_input_is_400_and_states_what_is_expected(
    client: TestClient, change: dict[str, Any], expected: str
) -> None:
    document = {"inputs": [{**IMAGE, "data": FLAT, **change}]}
    assert expected in error_message(client.post(MEAN, json=document), 400)
    assert len(logits(client.post(MEAN, json={"inputs": [{**IMAGE, "data": FLAT}]}))) == 4


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e39", "1e400", "-9" + "0" * 310, "0" * 3 + "9", "1 2", "\u00e9", "0x1"]
)
def test_floats_that_are_not_finite_numbers_are_400(client: TestClient, value: str) -> None:
    tensor = b'{"inputs":[{"name":"image","shape":[1,3,8,6],"datatype":"FP32","data":[%s]}]}'
    wrong = b",".join([b"0.5"] * 143 + [value.encode()])
    message = error_message(client.post(FLOAT, content=tensor % wrong), 400)
    assert message.startswith(f"element 143 of the data of input 'image' is '{value[:150]}")
    assert message.endswith("expected numbers that are finite as float32")
    assert len(logits(client.post(FLOAT, content=tensor % b",".join([b"0.5"] * 144)))) == 4
    if value.strip("-") in {"NaN", "Infinity"}:
        numbers = np.full((1, 3, 8, 6), float(value), "<f4")
        assert "not finite" in error_message(send_raw(client, numbers.tobytes(), FLOAT), 400)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"datatype": "UINT8"}, "expected BYTES"),
        ({"shape": [2]}, "has 1 elements, but its shape has 2"),
        ({"shape": [1, 2]}, "expected [n] or [n, 1]"),
        ({"shape": []}, "expected [n] or [n, 1]"),
        ({"data": [7]}, "are not strings"),
        ({"data": ["no base64!"]}, "not base64"),
        ({"data": ["\u00e9"]}, "not base64"),
        ({"data": [base64.b64encode(b"text").decode()]}, "element 0 of 'image_bytes': the body is not an image"),
        ({"data": [], "shape": [0]}, "0 images in one request"),
    ],
)
def test_invalid_files_in_json_are_400_and_state_what_is_expected(
    client: TestClient, change: dict[str, Any], expected: str
) -> None:
    document = {"inputs": [{**FILE, "data": [base64.b64encode(PNG).decode()], **change}]}
    assert expected in error_message(client.post(MEAN, json=document), 400)


def nulls(*names: str) -> dict[str, None]:
    return dict.fromkeys(names)


def test_a_null_member_is_treated_as_absent(client: TestClient) -> None:
    """MLServer's types, Seldon's examples, and serialisers of Java, C# and Go write unset members as null."""
    file = base64.b64encode(PNG).decode()
    unset = nulls("id", "parameters", "outputs")
    numbers = {**IMAGE, "parameters": None, "data": FLAT}
    assert len(logits(client.post(MEAN, json={**unset, "inputs": [{**FILE, "parameters": None, "data": [file]}]}))) == 4
    assert len(logits(client.post(MEAN, json={**unset, "inputs": [numbers]}))) == 4
    parameters = nulls("content_type", "headers", "timeout", "variant", "binary_data_output")
    tensor = {**numbers, "parameters": nulls("binary_data_size", "shared_memory_region")}
    outputs = [{"name": "logits", "parameters": nulls("classification", "binary_data"), "data": None}]
    document = {"inputs": [tensor], "parameters": parameters, "outputs": outputs}
    assert len(logits(client.post(MEAN, json=document))) == 4
    binary = {**IMAGE, "parameters": {"binary_data_size": 144}, "data": None}
    assert len(logits(send(client, {"inputs": [binary], **unset}, bytes(144)))) == 4
    outputs = [{"name": "logits", "parameters": None}]
    assert "id" not in client.post(MEAN, json={"inputs": [numbers], "outputs": outputs, "id": None}).json()


def test_a_required_null_member_is_400(client: TestClient) -> None:
    for name in ("name", "shape", "datatype"):
        message = error_message(client.post(MEAN, json={"inputs": [{**IMAGE, "data": FLAT, name: None}]}), 400)
        assert message.startswith(f"inputs.0.{name}: Field required")
    assert error_message(client.post(MEAN, json={"inputs": None}), 400).startswith("inputs: Field required")
    assert error_message(client.post(MEAN, json={"inputs": [None]}), 400).startswith("inputs.0: ")


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
def test_json_may_begin_with_a_byte_order_mark(client: TestClient, mark: bytes) -> None:
    document = json.dumps({"inputs": [{**IMAGE, "data": FLAT}]}).encode()
    assert len(logits(client.post(MEAN, content=mark + document))) == 4
    assert len(logits(client.post(MEAN, content=mark + document.replace(b'"data": ', b'"data"\n:\t ')))) == 4
    utf16 = document.decode().encode("utf-16")
    assert "UTF-16; send it as UTF-8" in error_message(client.post(MEAN, content=utf16), 400)


@pytest.mark.parametrize(
    "text",
    [
        f"data:image/png;base64,{base64.b64encode(PNG).decode()}",
        base64.urlsafe_b64encode(PNG).decode().rstrip("="),
        base64.encodebytes(PNG).decode(),
    ],
)
def test_files_in_json_may_use_any_variant_of_base64(client: TestClient, text: str) -> None:
    assert len(logits(client.post(MEAN, json={"inputs": [{**FILE, "data": [text]}]}))) == 4


def test_only_the_data_member_of_the_input_is_parsed_as_numbers(client: TestClient) -> None:
    tensor = {**IMAGE, "data": FLAT}
    quoted = {"id": '"data": [1, 2]', "parameters": {'"data"': 1, '\\"data': [1, 2]}}
    found = client.post(MEAN, json={**quoted, "inputs": [tensor]})
    assert len(logits(found)) == 4
    assert found.json()["id"] == '"data": [1, 2]'
    file = {**FILE, "data": [base64.b64encode(PNG).decode()]}
    assert len(logits(client.post(MEAN, json={"parameters": {"data": [1, 2]}, "inputs": [file]}))) == 4
    two = client.post(MEAN, json={"parameters": {"data": [1, 2]}, "inputs": [tensor]})
    assert "several lists of numbers `data`" in error_message(two, 400)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('"parameters":{"variant":"mean","variant":"float"}', "variant"),
        ('"parameters":{"timeout":1000,"timeou\\u0074":2000}', "timeout"),
        ('"parameters":{"variant":"mean"},"parameters":{"variant":"float"}', "parameters"),
        ('"outputs":[{"name":"logits","parameters":{"classification":1,"classification":2}}]', "classification"),
    ],
)
def test_a_duplicate_member_is_400(client: TestClient, text: str, name: str) -> None:
    document = json.dumps({"inputs": [{**IMAGE, "data": FLAT}]})[:-1]
    body = f"{document},{text}}}"
    assert f"{name} is given twice, as " in error_message(client.post("/v2/models/colours/infer", content=body), 400)
