"""Protocol messages written by hand: framing, options of outputs, and errors."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.protocol_v2.documents import InferRequest
from service.protocol_v2.request import timeout_ms
from tests.service.artifacts import LABELS
from tests.service.protocol_v2.answers import expected_logits, floats, pixels
from tests.service.protocol_v2.wire import FILE, FLAT, FLOAT, HEADER, IMAGE, MEAN, error_message, logits, send


def test_binary_tensors_follow_the_json_in_both_directions(client: TestClient) -> None:
    images = pixels(2)
    tensor = {**IMAGE, "shape": [2, 8, 6, 3], "parameters": {"binary_data_size": images.nbytes}}
    document = {"id": "a\u00e9", "inputs": [tensor], "parameters": {"binary_data_output": True}}
    response = send(client, document, images.tobytes())
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers[HEADER])
    found = json.loads(response.content[:length])
    assert found["id"] == "a\u00e9"
    assert found["outputs"] == [
        {"name": "logits", "datatype": "FP32", "shape": [2, 4], "parameters": {"binary_data_size": 32}}
    ]
    numbers = struct.unpack("<8f", response.content[length:])
    np.testing.assert_allclose(numbers, np.ravel(expected_logits(images)), rtol=1e-5)


@pytest.mark.parametrize("padding", [0, 1, 2, 3])
def test_floats_may_start_at_any_byte_offset(client: TestClient, padding: int) -> None:
    images = floats(1)
    tensor = {"name": "image", "shape": [1, 3, 8, 6], "datatype": "FP32"}
    document = {"inputs": [{**tensor, "parameters": {"binary_data_size": images.nbytes}}]}
    header = json.dumps(document).encode() + b" " * padding
    found = logits(send(client, header, images.astype("<f4").tobytes(), FLOAT))
    np.testing.assert_allclose(found, np.ravel(expected_logits(images)), rtol=1e-5)


def test_the_form_of_one_output_overrides_that_of_all(client: TestClient) -> None:
    tensor = {**IMAGE, "data": pixels(1).tolist()}
    outputs = [{"name": "logits", "parameters": {"binary_data": False}}]
    document = {"inputs": [tensor], "outputs": outputs, "parameters": {"binary_data_output": True}}
    np.testing.assert_allclose(logits(client.post(MEAN, json=document)), expected_logits(pixels(1))[0], rtol=1e-5)


def test_binary_classes_are_prefixed_with_their_length(client: TestClient) -> None:
    outputs = [{"name": "logits", "parameters": {"classification": 99, "binary_data": True}}]
    response = client.post(MEAN, json={"inputs": [{**IMAGE, "data": pixels(1).tolist()}], "outputs": outputs})
    length = int(response.headers[HEADER])
    (output,) = json.loads(response.content[:length])["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 4])
    rest, found = response.content[length:], []
    assert len(rest) == output["parameters"]["binary_data_size"]
    while rest:
        (size,) = struct.unpack("<I", rest[:4])
        found.append(rest[4 : 4 + size].decode().split(":"))
        rest = rest[4 + size :]
    expected = expected_logits(pixels(1))[0]
    order = sorted(range(4), key=lambda index: -expected[index])
    assert [(int(index), label) for _, index, label in found] == [(index, LABELS[index]) for index in order]


def test_equal_classes_are_sorted_by_index(client: TestClient) -> None:
    outputs = [{"name": "logits", "parameters": {"classification": 4}}]
    response = client.post(MEAN, json={"inputs": [{**IMAGE, "data": [0] * 144}], "outputs": outputs})
    assert response.json()["outputs"][0]["data"] == [f"0.000000:{i}:{label}" for i, label in enumerate(LABELS)]


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "99999", "9" * 5000, "٣"])
def test_an_invalid_header_length_is_400(client: TestClient, length: str) -> None:
    response = client.post(MEAN, content=b"{}", headers=[(HEADER.encode(), length.encode())])
    assert HEADER in error_message(response, 400)


@pytest.mark.parametrize("tensor", [b"\x01", b"\x05\0\0\0abc", b"\xff\xff\xff\xffabc"])
def test_a_truncated_element_is_400(client: TestClient, tensor: bytes) -> None:
    document = {"inputs": [{**FILE, "parameters": {"binary_data_size": len(tensor)}}]}
    assert "exceeds its" in error_message(send(client, document, tensor), 400)


def test_bytes_that_belong_to_no_input_are_400(client: TestClient) -> None:
    document = {"inputs": [{**IMAGE, "data": FLAT}]}
    assert "3 bytes follow the JSON, but no input" in error_message(send(client, document, b"abc"), 400)
    both = {"inputs": [{**IMAGE, "data": FLAT}, {**FILE, "data": ["x"]}]}
    assert "'image', 'image_bytes'; expected either" in error_message(client.post(MEAN, json=both), 400)
    size = {"parameters": {"binary_data_size": 3}}
    assert "has 3 bytes, its shape [1, 8, 6, 3] needs 144" in error_message(
        send(client, {"inputs": [{**IMAGE, **size}]}, b"abc"), 400
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"outputs": [{"name": "scores"}]}, "requested outputs are 'scores'; this model has 'logits'"),
        (
            {"outputs": [{"name": "logits"}, {"name": "logits", "parameters": {"classification": 2}}]},
            "the output 'logits' is requested in several forms",
        ),
        ({"outputs": [{"name": "logits", "parameters": {"classification": -1}}]}, "classification is -1"),
        ({"outputs": [{"name": "logits", "parameters": {"classification": "2"}}]}, "classification is '2'"),
        ({"outputs": [{"name": "logits", "parameters": {"binary_data": 1}}]}, "binary_data is 1, expected true"),
        ({"parameters": {"binary_data_output": "yes"}}, "binary_data_output is 'yes'"),
        ({"parameters": {"timeout": -1}}, "timeout is -1"),
        ({"parameters": {"timeout": "1"}}, "timeout is '1'"),
        ({"parameters": {"timeout": 10**15}}, "expected µs from 1 to"),
        ({"parameters": {"variant": 7}}, "variant is 7, expected a name"),
        ({"parameters": {"variant": "float"}}, "the path names variant 'mean', but the parameters name 'float'"),
    ],
)
def test_invalid_options_are_400_and_named(client: TestClient, options: dict[str, Any], expected: str) -> None:
    document = {"inputs": [{**IMAGE, "data": FLAT}], **options}
    assert expected in error_message(client.post(MEAN, json=document), 400)


@pytest.mark.parametrize(
    "outputs", [[{"name": "logits"}, {"name": "logits"}], [{"name": "logits", "parameters": {"classification": 0}}]]
)
def test_an_output_requested_twice_or_with_0_classes_is_the_logits(
    client: TestClient, outputs: list[dict[str, Any]]
) -> None:
    found = logits(client.post(MEAN, json={"inputs": [{**IMAGE, "data": FLAT}], "outputs": outputs}))
    np.testing.assert_allclose(found, np.zeros(4), atol=1e-6)  # logits of black pixels


def test_unknown_parameters_are_ignored(client: TestClient) -> None:
    document = {"inputs": [{**IMAGE, "data": FLAT}], "parameters": {"priority": 1, "timeout": 0, "mine": {"a": [1]}}}
    assert len(logits(client.post(MEAN, json=document))) == 4


@pytest.mark.parametrize(("microseconds", "expected"), [(0, None), (1, 1), (1000, 1), (1001, 2)])
def test_a_timeout_is_rounded_up_to_milliseconds(microseconds: int, expected: int | None) -> None:
    request = InferRequest.model_validate({"inputs": [], "parameters": {"timeout": microseconds}})
    assert timeout_ms(request) == expected


def test_a_requests_timeout_is_in_microseconds(client: TestClient) -> None:
    document = {"inputs": [{**IMAGE, "data": FLAT}], "parameters": {"timeout": 20_000_000}}
    assert len(logits(client.post(MEAN, json=document))) == 4


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/birds", 404),
        ("GET", "/v2/models/birds/stats", 404),
        ("GET", "/v2/models/colours@rope/config", 404),
        ("GET", "/v2/models/colours/versions/x", 404),
        ("GET", "/v2/models/colours@mean/versions/01", 404),
        ("POST", "/v2/models/birds/infer", 404),
        ("GET", "/v2/models/colours/infer", 405),
        ("GET", "/v2/repository/index", 405),
        ("POST", "/v2/repository/models/colours/load", 403),
        ("POST", "/v2/repository/models/birds/unload", 403),
    ],
)
def test_routing_errors_have_the_protocols_error_format(
    client: TestClient, method: str, path: str, status: int
) -> None:
    assert error_message(client.request(method, path), status)


def test_responses_have_server_timing_and_the_request_id_as_under_v1(client: TestClient) -> None:
    response = client.post(MEAN, json={"inputs": [{**IMAGE, "data": FLAT}]}, headers={"X-Request-Id": "mine"})
    assert response.headers["X-Request-Id"] == "mine"
    assert "inference;dur=" in response.headers["Server-Timing"]
    assert "total;dur=" in response.headers["Server-Timing"]


def test_models_are_listed_by_the_names_used_in_requests(client: TestClient) -> None:
    assert client.get("/v2/models").json() == {"models": ["colours@float", "colours@mean", "colours@nan"]}


def test_the_index_can_be_limited_to_ready_models(client: TestClient) -> None:
    everything = client.post("/v2/repository/index").json()
    assert client.post("/v2/repository/index", json={"ready": True}).json() == everything
    assert "ready: " in error_message(client.post("/v2/repository/index", json={"ready": "x"}), 400)


def test_requests_to_the_repository_may_be_null(client: TestClient) -> None:
    everything = client.post("/v2/repository/index").json()
    for body in (b"null", b'{"ready": null}', b'{"ready": false, "other": 1}'):
        assert client.post("/v2/repository/index", content=body).json() == everything
    assert "expected a JSON object, or no body" in error_message(
        client.post("/v2/repository/index", content=b"[null]"), 400
    )
