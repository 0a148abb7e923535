"""The protocol's bytes, written by hand: framing, raw bodies, and every way to get them wrong."""

import base64
import gzip
import json
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.inputs.json_text import LARGE
from service.protocol_v2.request import is_heavy
from tests.service.artifacts import LABELS
from tests.service.pictures import encode, png_claiming
from tests.service.protocol_v2.answers import document_of, expected_logits, floats, pixels

MEAN = "/v2/models/colours@mean/versions/1/infer"
FLOAT = "/v2/models/colours@float/infer"
HEADER = "Inference-Header-Content-Length"
IMAGE = {"name": "image", "shape": [1, 8, 6, 3], "datatype": "UINT8"}
FILE = {"name": "image_bytes", "shape": [1], "datatype": "BYTES"}
PNG = encode(pixels(1)[0])


def send(client: TestClient, document: object, tensors: bytes = b"", path: str = MEAN) -> httpx2.Response:
    """Send JSON with binary tensors after it."""
    header = document if isinstance(document, bytes) else json.dumps(document).encode()
    return client.post(path, content=header + tensors, headers={HEADER: str(len(header))})


def send_raw(client: TestClient, body: bytes, path: str = MEAN, **headers: str) -> httpx2.Response:
    return client.post(path, content=body, headers={HEADER: "0", **headers})


def logits(response: httpx2.Response) -> list[float]:
    assert response.status_code == 200, response.text
    (output,) = document_of(response)["outputs"]
    assert (output["name"], output["datatype"]) == ("logits", "FP32")
    found: list[float] = output["data"]
    return found


def says(response: httpx2.Response, status: int) -> str:
    """Return the message of an error."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error"}
    assert "Traceback" not in response.text
    message: str = response.json()["error"]
    return message


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
def test_floats_may_begin_at_any_byte(client: TestClient, padding: int) -> None:
    images = floats(1)
    tensor = {"name": "image", "shape": [1, 3, 8, 6], "datatype": "FP32"}
    document = {"inputs": [{**tensor, "parameters": {"binary_data_size": images.nbytes}}]}
    header = json.dumps(document).encode() + b" " * padding
    found = logits(send(client, header, images.astype("<f4").tobytes(), FLOAT))
    np.testing.assert_allclose(found, np.ravel(expected_logits(images)), rtol=1e-5)


def test_an_output_s_own_form_goes_before_that_of_all(client: TestClient) -> None:
    tensor = {**IMAGE, "data": pixels(1).tolist()}
    outputs = [{"name": "logits", "parameters": {"binary_data": False}}]
    document = {"inputs": [tensor], "outputs": outputs, "parameters": {"binary_data_output": True}}
    np.testing.assert_allclose(logits(client.post(MEAN, json=document)), expected_logits(pixels(1))[0], rtol=1e-5)


def test_binary_classes_have_their_length_before_them(client: TestClient) -> None:
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


def test_equal_classes_come_in_their_order(client: TestClient) -> None:
    outputs = [{"name": "logits", "parameters": {"classification": 4}}]
    response = client.post(MEAN, json={"inputs": [{**IMAGE, "data": [0] * 144}], "outputs": outputs})
    assert response.json()["outputs"][0]["data"] == [f"0.000000:{i}:{label}" for i, label in enumerate(LABELS)]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_bare_file_of_every_format_is_told_by_its_first_bytes(client: TestClient, kind: str) -> None:
    file = encode(pixels(1)[0], kind)
    found = logits(send_raw(client, file))
    assert len(found) == 4
    query = "/v1/classify?variant=mean&version=1&top_k=4"
    ranked = client.post(query, content=file).json()["predictions"]
    assert [p["index"] for p in ranked] == sorted(range(4), key=lambda index: -found[index])


def test_a_raw_body_may_be_the_tensor_itself(client: TestClient) -> None:
    images = pixels(3)
    found = logits(send_raw(client, images.tobytes()))
    np.testing.assert_allclose(found, np.ravel(expected_logits(images)), rtol=1e-5)
    numbers = floats(2)
    found = logits(send_raw(client, numbers.astype("<f4").tobytes(), FLOAT))
    np.testing.assert_allclose(found, np.ravel(expected_logits(numbers)), rtol=1e-5)


def test_an_image_content_type_makes_a_raw_body_a_file(client: TestClient) -> None:
    assert "not an image" in says(send_raw(client, pixels(1).tobytes(), **{"Content-Type": "image/png"}), 400)
    assert len(logits(send_raw(client, pixels(1).tobytes()))) == 4


def test_a_raw_body_that_is_neither_is_400_and_says_what_would_be(client: TestClient) -> None:
    assert "neither an image file nor whole images of 144 bytes, UINT8 [8, 6, 3]" in says(send_raw(client, b"x"), 400)
    assert "neither" in says(send_raw(client, b""), 400)
    assert "1 to 8" in says(send_raw(client, bytes(144 * 9)), 400)
    assert "damaged" in says(send_raw(client, PNG[:60]), 400)
    assert "pixels" in says(send_raw(client, png_claiming(50_000, 50_000)), 413)


def test_json_numbers_may_be_flat_or_nested(client: TestClient) -> None:
    images = pixels(1)
    for data in (images.tolist(), images.ravel().tolist(), images[0].tolist()):
        found = logits(client.post(MEAN, json={"inputs": [{**IMAGE, "data": data}]}))
        np.testing.assert_allclose(found, expected_logits(images)[0], rtol=1e-5)


def test_large_json_is_read_as_well(client: TestClient) -> None:
    body = json.dumps({"inputs": [{**IMAGE, "data": pixels(1).tolist()}]}).encode() + b" " * LARGE
    np.testing.assert_allclose(logits(client.post(MEAN, content=body)), expected_logits(pixels(1))[0], rtol=1e-5)


def test_files_in_json_are_base64(client: TestClient) -> None:
    for data in ([base64.b64encode(PNG).decode()], [[base64.b64encode(PNG).decode()]]):
        found = logits(client.post(MEAN, json={"inputs": [{**FILE, "data": data}]}))
        np.testing.assert_allclose(found, expected_logits(pixels(1))[0], rtol=1e-5)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_compressed_body_is_expanded_up_to_the_limit_only(client: TestClient, pack: Callable[[bytes], bytes]) -> None:
    encoding = {"Content-Encoding": "gzip" if pack is gzip.compress else "deflate"}
    whole = pack(pixels(1).tobytes())
    assert len(logits(send_raw(client, whole, **encoding))) == 4
    assert "truncated" in says(send_raw(client, whole[:-3], **encoding), 400)
    assert "is not" in says(send_raw(client, b"plain", **encoding), 400)
    assert "expands to more" in says(send_raw(client, pack(bytes(50_000_000)), **encoding), 413)
    refused = send_raw(client, whole, **{"Content-Encoding": "br"})
    assert "'br' is not supported" in says(refused, 415)
    assert refused.headers["Accept-Encoding"] == "gzip, deflate"


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "99999", "9" * 5000, "٣"])
def test_a_header_length_that_is_none_is_400(client: TestClient, length: str) -> None:
    response = client.post(MEAN, content=b"{}", headers=[(HEADER.encode(), length.encode())])
    assert HEADER in says(response, 400)


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
def test_json_that_is_no_request_is_400_and_names_the_place(client: TestClient, body: bytes, expected: str) -> None:
    assert says(client.post(MEAN, content=body), 400).startswith(expected)


FLAT = [0] * 144


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
def test_an_input_that_does_not_fit_is_400_and_says_what_would(
    client: TestClient, change: dict[str, Any], expected: str
) -> None:
    document = {"inputs": [{**IMAGE, "data": FLAT, **change}]}
    assert expected in says(client.post(MEAN, json=document), 400)
    assert len(logits(client.post(MEAN, json={"inputs": [{**IMAGE, "data": FLAT}]}))) == 4


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e39", "1e400", "-9" + "0" * 310, "0" * 3 + "9", "1 2", "\u00e9", "0x1"]
)
def test_floats_that_are_not_finite_or_no_numbers_are_400(client: TestClient, value: str) -> None:
    tensor = b'{"inputs":[{"name":"image","shape":[1,3,8,6],"datatype":"FP32","data":[%s]}]}'
    wrong = b",".join([b"0.5"] * 143 + [value.encode()])
    message = says(client.post(FLOAT, content=tensor % wrong), 400)
    assert message.startswith(f"element 143 of the data of input 'image' is '{value[:150]}")
    assert message.endswith("expected numbers that are finite as float32")
    assert len(logits(client.post(FLOAT, content=tensor % b",".join([b"0.5"] * 144)))) == 4
    if value.strip("-") in {"NaN", "Infinity"}:
        numbers = np.full((1, 3, 8, 6), float(value), "<f4")
        assert "not finite" in says(send_raw(client, numbers.tobytes(), FLOAT), 400)


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
def test_files_that_do_not_fit_are_400_and_say_what_would(
    client: TestClient, change: dict[str, Any], expected: str
) -> None:
    document = {"inputs": [{**FILE, "data": [base64.b64encode(PNG).decode()], **change}]}
    assert expected in says(client.post(MEAN, json=document), 400)


@pytest.mark.parametrize("tensor", [b"\x01", b"\x05\0\0\0abc", b"\xff\xff\xff\xffabc"])
def test_bytes_that_end_within_an_element_are_400(client: TestClient, tensor: bytes) -> None:
    document = {"inputs": [{**FILE, "parameters": {"binary_data_size": len(tensor)}}]}
    assert "exceeds its" in says(send(client, document, tensor), 400)


def test_more_elements_than_the_shape_has_are_400_without_a_look_at_them(client: TestClient) -> None:
    many = bytes(800_000)  # 200,000 empty elements
    document = {"inputs": [{**FILE, "parameters": {"binary_data_size": len(many)}}]}
    assert "799996 bytes of a BYTES tensor follow the 1 elements" in says(send(client, document, many), 400)
    strings = {"inputs": [{**FILE, "data": ["x"] * 1000}]}
    assert "1000 elements, but its shape has 1" in says(client.post(MEAN, json=strings), 400)
    many_strings = {"inputs": [{**FILE, "data": ["x"] * 100_000}]}
    assert "more than 2000 values" in says(client.post(MEAN, json=many_strings), 400)


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
def test_what_takes_long_to_parse_is_left_to_another_thread(body: bytes, headers: dict[str, str], heavy: bool) -> None:
    assert is_heavy(body, headers) is heavy


def test_bytes_that_no_input_claims_are_400(client: TestClient) -> None:
    document = {"inputs": [{**IMAGE, "data": FLAT}]}
    assert "3 bytes follow the JSON, but no input" in says(send(client, document, b"abc"), 400)
    both = {"inputs": [{**IMAGE, "data": FLAT}, {**FILE, "data": ["x"]}]}
    assert "'image', 'image_bytes'; expected either" in says(client.post(MEAN, json=both), 400)
    size = {"parameters": {"binary_data_size": 3}}
    assert "has 3 bytes, its shape [1, 8, 6, 3] needs 144" in says(
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
def test_options_out_of_range_are_400_and_named(client: TestClient, options: dict[str, Any], expected: str) -> None:
    document = {"inputs": [{**IMAGE, "data": FLAT}], **options}
    assert expected in says(client.post(MEAN, json=document), 400)


@pytest.mark.parametrize(
    "outputs", [[{"name": "logits"}, {"name": "logits"}], [{"name": "logits", "parameters": {"classification": 0}}]]
)
def test_an_output_that_is_named_twice_or_without_classes_is_the_logits(
    client: TestClient, outputs: list[dict[str, Any]]
) -> None:
    found = logits(client.post(MEAN, json={"inputs": [{**IMAGE, "data": FLAT}], "outputs": outputs}))
    np.testing.assert_allclose(found, np.zeros(4), atol=1e-6)  # of black pixels


def test_a_raw_body_is_answered_with_a_binary_output(client: TestClient) -> None:
    response = send_raw(client, PNG)
    assert response.headers["content-type"] == "application/octet-stream"
    (output,) = json.loads(response.content[: int(response.headers[HEADER])])["outputs"]
    assert output["parameters"] == {"binary_data_size": 16}
    assert "data" not in output


def test_parameters_of_others_are_ignored(client: TestClient) -> None:
    document = {"inputs": [{**IMAGE, "data": FLAT}], "parameters": {"priority": 1, "timeout": 0, "mine": {"a": [1]}}}
    assert len(logits(client.post(MEAN, json=document))) == 4


def test_a_request_s_own_timeout_is_in_microseconds(client: TestClient) -> None:
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
def test_errors_of_addresses_have_the_protocol_s_form(client: TestClient, method: str, path: str, status: int) -> None:
    assert says(client.request(method, path), status)


def test_a_body_over_the_limit_is_413(client: TestClient) -> None:
    assert "1000000" in says(client.post(MEAN, content=bytes(1_000_001)), 413)


def test_server_timing_and_the_request_s_id_are_there_as_under_v1(client: TestClient) -> None:
    response = client.post(MEAN, json={"inputs": [{**IMAGE, "data": FLAT}]}, headers={"X-Request-Id": "mine"})
    assert response.headers["X-Request-Id"] == "mine"
    assert "inference;dur=" in response.headers["Server-Timing"]
    assert "total;dur=" in response.headers["Server-Timing"]


def test_models_are_listed_by_the_names_that_requests_use(client: TestClient) -> None:
    assert client.get("/v2/models").json() == {"models": ["colours@float", "colours@mean", "colours@nan"]}


def test_the_index_may_leave_out_what_is_not_ready(client: TestClient) -> None:
    everything = client.post("/v2/repository/index").json()
    assert client.post("/v2/repository/index", json={"ready": True}).json() == everything
    assert "ready: " in says(client.post("/v2/repository/index", json={"ready": "x"}), 400)


def nothing(*names: str) -> dict[str, None]:
    return dict.fromkeys(names)


def test_a_member_that_is_null_is_one_that_is_not_there(client: TestClient) -> None:
    """So MLServer's types, Seldon's examples, and serialisers of Java, C# and Go write what is not set."""
    file = base64.b64encode(PNG).decode()
    unset = nothing("id", "parameters", "outputs")
    numbers = {**IMAGE, "parameters": None, "data": FLAT}
    assert len(logits(client.post(MEAN, json={**unset, "inputs": [{**FILE, "parameters": None, "data": [file]}]}))) == 4
    assert len(logits(client.post(MEAN, json={**unset, "inputs": [numbers]}))) == 4
    parameters = nothing("content_type", "headers", "timeout", "variant", "binary_data_output")
    tensor = {**numbers, "parameters": nothing("binary_data_size", "shared_memory_region")}
    outputs = [{"name": "logits", "parameters": nothing("classification", "binary_data"), "data": None}]
    document = {"inputs": [tensor], "parameters": parameters, "outputs": outputs}
    assert len(logits(client.post(MEAN, json=document))) == 4
    binary = {**IMAGE, "parameters": {"binary_data_size": 144}, "data": None}
    assert len(logits(send(client, {"inputs": [binary], **unset}, bytes(144)))) == 4
    outputs = [{"name": "logits", "parameters": None}]
    assert "id" not in client.post(MEAN, json={"inputs": [numbers], "outputs": outputs, "id": None}).json()


def test_a_required_member_that_is_null_is_400(client: TestClient) -> None:
    for name in ("name", "shape", "datatype"):
        message = says(client.post(MEAN, json={"inputs": [{**IMAGE, "data": FLAT, name: None}]}), 400)
        assert message.startswith(f"inputs.0.{name}: Field required")
    assert says(client.post(MEAN, json={"inputs": None}), 400).startswith("inputs: Field required")
    assert says(client.post(MEAN, json={"inputs": [None]}), 400).startswith("inputs.0: ")


def test_requests_of_the_repository_may_be_null_too(client: TestClient) -> None:
    everything = client.post("/v2/repository/index").json()
    for body in (b"null", b'{"ready": null}', b'{"ready": false, "other": 1}'):
        assert client.post("/v2/repository/index", content=body).json() == everything
    assert "expected a JSON object, or no body" in says(client.post("/v2/repository/index", content=b"[null]"), 400)


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
def test_json_may_begin_with_a_byte_order_mark(client: TestClient, mark: bytes) -> None:
    document = json.dumps({"inputs": [{**IMAGE, "data": FLAT}]}).encode()
    assert len(logits(client.post(MEAN, content=mark + document))) == 4
    assert len(logits(client.post(MEAN, content=mark + document.replace(b'"data": ', b'"data"\n:\t ')))) == 4
    utf16 = document.decode().encode("utf-16")
    assert "UTF-16; send it as UTF-8" in says(client.post(MEAN, content=utf16), 400)


@pytest.mark.parametrize(
    "text",
    [
        f"data:image/png;base64,{base64.b64encode(PNG).decode()}",
        base64.urlsafe_b64encode(PNG).decode().rstrip("="),
        base64.encodebytes(PNG).decode(),
    ],
)
def test_files_in_json_may_be_every_kind_of_base64(client: TestClient, text: str) -> None:
    assert len(logits(client.post(MEAN, json={"inputs": [{**FILE, "data": [text]}]}))) == 4


def test_only_the_input_s_own_data_are_its_numbers(client: TestClient) -> None:
    tensor = {**IMAGE, "data": FLAT}
    quoted = {"id": '"data": [1, 2]', "parameters": {'"data"': 1, '\\"data': [1, 2]}}
    found = client.post(MEAN, json={**quoted, "inputs": [tensor]})
    assert len(logits(found)) == 4
    assert found.json()["id"] == '"data": [1, 2]'
    file = {**FILE, "data": [base64.b64encode(PNG).decode()]}
    assert len(logits(client.post(MEAN, json={"parameters": {"data": [1, 2]}, "inputs": [file]}))) == 4
    two = client.post(MEAN, json={"parameters": {"data": [1, 2]}, "inputs": [tensor]})
    assert "several lists of numbers `data`" in says(two, 400)


@pytest.mark.parametrize(
    "head",
    [
        *(b"II+\0\x08\0\0\0", b"\0\0\0\x1cftypavif", b"\0\0\0\x18ftypheic", b"\0\0\0\x14ftypmif1"),
        *(
            b"\0\0\0\x0cJXL \r\n\x87\n",
            b"\xff\x0a\xfa",
            b"\0\0\0\x0cjP  \r\n\x87\n",
            b"%PDF-1.7",
            b"<svg xmlns",
            b"8BPS\0\1",
        ),
    ],
)
def test_a_raw_body_that_begins_as_some_image_file_gets_the_decoder_s_message(client: TestClient, head: bytes) -> None:
    message = says(send_raw(client, head + bytes(144 - len(head))), 400)
    assert "neither an image file nor whole images" not in message
    assert message == says(send_raw(client, head + bytes(144 - len(head)), **{"Content-Type": "image/x"}), 400)


def test_a_raw_body_may_be_a_bigtiff(client: TestClient) -> None:
    file = encode(pixels(1)[0], "TIFF", big_tiff=True)
    assert file.startswith(b"II+\0")
    np.testing.assert_allclose(logits(send_raw(client, file)), expected_logits(pixels(1))[0], rtol=1e-5)


def test_hostile_json_is_refused_at_once(client: TestClient) -> None:
    """Each took seconds and gigabytes: an error for every element, or an array as wide as the longest string."""
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
            assert len(says(client.post(MEAN, content=content, headers=headers), 400)) < 1000
            assert time.process_time() - start < 1


def test_few_tensors_and_axes_are_looked_at(client: TestClient) -> None:
    tensor = {**IMAGE, "data": FLAT}
    assert "inputs: List should have at most 16 items" in says(client.post(MEAN, json={"inputs": [tensor] * 17}), 400)
    assert "the inputs are 'image', 'image'; expected either" in says(
        client.post(MEAN, json={"inputs": [tensor] * 2}), 400
    )
    outputs = [{"name": "logits"}] * 17
    assert "outputs: List should have" in says(client.post(MEAN, json={"inputs": [tensor], "outputs": outputs}), 400)
    shaped = {**tensor, "shape": [1] * 17}
    assert "inputs.0.shape: List should have" in says(client.post(MEAN, json={"inputs": [shaped]}), 400)
    long = {**tensor, "name": "x" * 100_000, "datatype": "y" * 100_000}
    assert len(says(client.post(MEAN, json={"inputs": [long]}), 400)) < 400


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('"parameters":{"variant":"mean","variant":"float"}', "variant"),
        ('"parameters":{"timeout":1000,"timeou\\u0074":2000}', "timeout"),
        ('"parameters":{"variant":"mean"},"parameters":{"variant":"float"}', "parameters"),
        ('"outputs":[{"name":"logits","parameters":{"classification":1,"classification":2}}]', "classification"),
    ],
)
def test_a_member_with_two_values_is_400(client: TestClient, text: str, name: str) -> None:
    document = json.dumps({"inputs": [{**IMAGE, "data": FLAT}]})[:-1]
    body = f"{document},{text}}}"
    assert f"{name} is given twice, as " in says(client.post("/v2/models/colours/infer", content=body), 400)
