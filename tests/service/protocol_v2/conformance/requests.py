"""Valid and invalid requests to every path of the protocol."""

import base64
import json

from tests.service.pictures import encode
from tests.service.protocol_v2.answers import floats, pixels
from tests.service.protocol_v2.conformance.case import HEADER, Case

INFER = "/v2/models/{mean}/infer"
FILES = "/v2/models/{files}/infer"


def _json(name: str, document: object, path: str = INFER) -> Case:
    return Case(name, "POST", path, json.dumps(document).encode(), {"Content-Type": "application/json"})


def _binary(name: str, document: object, tensors: bytes, path: str = INFER) -> Case:
    header = json.dumps(document).encode()
    headers = {HEADER: str(len(header)), "Content-Type": "application/octet-stream"}
    return Case(name, "POST", path, header + tensors, headers)


def _raw(name: str, body: bytes, path: str = INFER) -> Case:
    return Case(name, "POST", path, body, {HEADER: "0", "Content-Type": "application/octet-stream"})


def _image(count: int = 1, /, **members: object) -> dict[str, object]:
    return {"name": "image", "shape": [count, 8, 6, 3], "datatype": "UINT8", **members}


PIXELS = pixels(2)
FLAT = PIXELS[0].ravel().tolist()
IMAGE = _image(data=FLAT)
FLOATS = {**IMAGE, "shape": [1, 3, 8, 6], "datatype": "FP32", "data": floats(1).ravel().tolist()}
PNG = encode(PIXELS[0])
ELEMENT = len(PNG).to_bytes(4, "little") + PNG
FILE = {"name": "image_bytes", "shape": [1, 1], "datatype": "BYTES"}


def _sized(size: int, **members: object) -> dict[str, object]:
    return {"parameters": {"binary_data_size": size}, **members}


SERVER = [
    Case("server metadata", "GET", "/v2"),
    Case("server live", "GET", "/v2/health/live"),
    Case("server ready", "GET", "/v2/health/ready"),
    Case("statistics of all", "GET", "/v2/models/stats"),
    Case("list of models", "GET", "/v2/models"),
    Case("index", "POST", "/v2/repository/index"),
    Case("index, empty object", "POST", "/v2/repository/index", b"{}"),
    Case("index, ready only", "POST", "/v2/repository/index", b'{"ready": true}'),
    Case("index, null", "POST", "/v2/repository/index", b"null"),
    Case("index, a list", "POST", "/v2/repository/index", b"[]"),
    Case("index, no JSON", "POST", "/v2/repository/index", b"{"),
    Case("index by GET", "GET", "/v2/repository/index"),
    Case("load, not allowed here", "POST", "/v2/repository/models/{mean}/load"),
    Case("unload, not allowed here", "POST", "/v2/repository/models/{mean}/unload"),
    Case("unknown address", "GET", "/v2/nothing"),
    Case("unknown address below a model", "GET", "/v2/models/{mean}/nothing"),
    Case("server metadata by POST", "POST", "/v2"),
    Case("server metadata by PUT", "PUT", "/v2"),
    Case("live by POST", "POST", "/v2/health/live"),
    Case("HEAD of the server", "HEAD", "/v2"),
    Case("HEAD of live", "HEAD", "/v2/health/live"),
]
MODEL = [
    case
    for what, suffix in (("metadata", ""), ("ready", "/ready"), ("config", "/config"), ("stats", "/stats"))
    for case in (
        Case(f"model {what}", "GET", f"/v2/models/{{mean}}{suffix}"),
        Case(f"version {what}", "GET", f"/v2/models/{{mean}}/versions/2{suffix}"),
        Case(f"{what} of an unknown model", "GET", f"/v2/models/missing{suffix}"),
        Case(f"{what} of an unknown version", "GET", f"/v2/models/{{mean}}/versions/3{suffix}"),
        Case(f"{what} of a version that is no number", "GET", f"/v2/models/{{mean}}/versions/one{suffix}"),
        Case(f"HEAD of model {what}", "HEAD", f"/v2/models/{{mean}}{suffix}"),
        Case(f"{what} by POST", "POST", f"/v2/models/{{mean}}{suffix}"),
    )
]
INFERENCE = [
    _json("JSON, flat", {"inputs": [IMAGE]}),
    _json("JSON, nested", {"inputs": [_image(data=PIXELS[:1].tolist())]}),
    _json("JSON, outer list left out", {"inputs": [_image(data=PIXELS[0].tolist())]}),
    _json("JSON, floats", {"inputs": [FLOATS]}, "/v2/models/{float}/infer"),
    _json("with an id", {"id": "7", "inputs": [IMAGE]}),
    _json("with an empty id", {"id": "", "inputs": [IMAGE]}),
    _json("with a numeric id", {"id": 7, "inputs": [IMAGE]}),
    _json("of a version", {"inputs": [IMAGE]}, "/v2/models/{mean}/versions/2/infer"),
    _json("of an unknown version", {"inputs": [IMAGE]}, "/v2/models/{mean}/versions/3/infer"),
    _json("of an unknown model", {"inputs": [IMAGE]}, "/v2/models/missing/infer"),
    Case("infer by GET", "GET", INFER),
    _json("output named", {"inputs": [IMAGE], "outputs": [{"name": "logits"}]}),
    _json("unknown output", {"inputs": [IMAGE], "outputs": [{"name": "other"}]}),
    _json("output named twice", {"inputs": [IMAGE], "outputs": [{"name": "logits"}, {"name": "logits"}]}),
    _json("no outputs", {"inputs": [IMAGE], "outputs": []}),
    _json("binary output", {"inputs": [IMAGE], "outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}),
    _json("all outputs binary", {"inputs": [IMAGE], "parameters": {"binary_data_output": True}}),
    _json(
        "JSON output although all are binary",
        {
            "inputs": [IMAGE],
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "logits", "parameters": {"binary_data": False}}],
        },
    ),
    _json(
        "binary_data is no boolean",
        {"inputs": [IMAGE], "outputs": [{"name": "logits", "parameters": {"binary_data": 1}}]},
    ),
    _json("2 classes", {"inputs": [IMAGE], "outputs": [{"name": "logits", "parameters": {"classification": 2}}]}),
    _json(
        "more classes than there are",
        {"inputs": [IMAGE], "outputs": [{"name": "logits", "parameters": {"classification": 9}}]},
    ),
    _json("0 classes", {"inputs": [IMAGE], "outputs": [{"name": "logits", "parameters": {"classification": 0}}]}),
    _json("-1 classes", {"inputs": [IMAGE], "outputs": [{"name": "logits", "parameters": {"classification": -1}}]}),
    _json(
        "classes as text", {"inputs": [IMAGE], "outputs": [{"name": "logits", "parameters": {"classification": "2"}}]}
    ),
    _json(
        "2 classes of 2 images",
        {
            "inputs": [_image(2, data=PIXELS.ravel().tolist())],
            "outputs": [{"name": "logits", "parameters": {"classification": 2}}],
        },
    ),
    _json(
        "2 classes, binary",
        {"inputs": [IMAGE], "outputs": [{"name": "logits", "parameters": {"classification": 2, "binary_data": True}}]},
    ),
    _json("unknown parameter", {"inputs": [IMAGE], "parameters": {"other": 1}}),
    _json("priority", {"inputs": [IMAGE], "parameters": {"priority": 1}}),
    _json("timeout", {"inputs": [IMAGE], "parameters": {"timeout": 10_000_000}}),
    _json("timeout as text", {"inputs": [IMAGE], "parameters": {"timeout": "soon"}}),
    _json("unknown member", {"inputs": [IMAGE], "other": 1}),
    _json("null id", {"id": None, "inputs": [IMAGE]}),
    _json("null parameters", {"parameters": None, "inputs": [IMAGE]}),
    _json("null outputs", {"outputs": None, "inputs": [IMAGE]}),
    _json("null parameter", {"parameters": {"binary_data_output": None}, "inputs": [IMAGE]}),
    _json("null parameters of the input", {"inputs": [_image(data=FLAT, parameters=None)]}),
    _json("null parameters of the output", {"inputs": [IMAGE], "outputs": [{"name": "logits", "parameters": None}]}),
    _json("null inputs", {"inputs": None}),
    _json("null name", {"inputs": [{**IMAGE, "name": None}]}),
    _json("null shape", {"inputs": [{**IMAGE, "shape": None}]}),
    _json("null data", {"inputs": [{**IMAGE, "data": None}]}),
    _json("no inputs", {"inputs": []}),
    _json("no member inputs", {}),
    _json("inputs is an object", {"inputs": IMAGE}),
    _json("unknown input", {"inputs": [{**IMAGE, "name": "other"}]}),
    _json("two inputs", {"inputs": [IMAGE, {**IMAGE, "name": "other"}]}),
    _json("the input twice", {"inputs": [IMAGE, IMAGE]}),
    _json(
        "two inputs of wrong shape",
        {"inputs": [_image(data=FLAT, shape=[1, 6, 8, 3]), {**IMAGE, "name": "other", "shape": [9], "data": [0] * 9}]},
    ),
    _json("no name", {"inputs": [{key: value for key, value in IMAGE.items() if key != "name"}]}),
    _json("no shape", {"inputs": [{key: value for key, value in IMAGE.items() if key != "shape"}]}),
    _json("no datatype", {"inputs": [{key: value for key, value in IMAGE.items() if key != "datatype"}]}),
    _json("no data", {"inputs": [_image()]}),
    _json("wrong shape", {"inputs": [_image(data=FLAT, shape=[1, 6, 8, 3])]}),
    _json("shape without a batch", {"inputs": [_image(data=FLAT, shape=[8, 6, 3])]}),
    _json("empty shape", {"inputs": [_image(data=[], shape=[])]}),
    _json("negative shape", {"inputs": [_image(data=FLAT, shape=[-1, 8, 6, 3])]}),
    _json("shape of texts", {"inputs": [_image(data=FLAT, shape=["1", "8", "6", "3"])]}),
    _json("no images", {"inputs": [_image(0, data=[])]}),
    _json("too many images", {"inputs": [_image(65, data=[0] * 65 * 144)]}),
    _json("wrong datatype", {"inputs": [{**IMAGE, "datatype": "FP32"}]}),
    _json("unknown datatype", {"inputs": [{**IMAGE, "datatype": "PIXELS"}]}),
    _json("FP16 in JSON", {"inputs": [{**IMAGE, "datatype": "FP16"}]}),
    _json("too few numbers", {"inputs": [_image(data=FLAT[1:])]}),
    _json("too many numbers", {"inputs": [_image(data=[*FLAT, 1])]}),
    _json("a number out of range", {"inputs": [_image(data=[256, *FLAT[1:]])]}),
    _json("a negative number", {"inputs": [_image(data=[-1, *FLAT[1:]])]}),
    _json("a fraction", {"inputs": [_image(data=[0.5, *FLAT[1:]])]}),
    _json("a text among numbers", {"inputs": [_image(data=["1", *FLAT[1:]])]}),
    _json("data is a number", {"inputs": [_image(data=1)]}),
    _json("a list", [IMAGE]),
    Case("no JSON", "POST", INFER, b"{"),
    Case("no body", "POST", INFER),
    Case(
        "JSON with another content type",
        "POST",
        INFER,
        json.dumps({"inputs": [IMAGE]}).encode(),
        {"Content-Type": "text/plain"},
    ),
    _binary("binary", {"inputs": [_image(**_sized(144))]}, PIXELS[:1].tobytes()),
    _binary("binary, 2 images", {"inputs": [_image(2, **_sized(288))]}, PIXELS.tobytes()),
    _binary(
        "binary both ways",
        {"inputs": [_image(**_sized(144))], "parameters": {"binary_data_output": True}},
        PIXELS[:1].tobytes(),
    ),
    _binary("binary, size too small", {"inputs": [_image(**_sized(143))]}, PIXELS[:1].tobytes()[:143]),
    _binary("binary, bytes missing", {"inputs": [_image(**_sized(144))]}, PIXELS[:1].tobytes()[:143]),
    _binary("binary, bytes left over", {"inputs": [_image(**_sized(144))]}, PIXELS[:1].tobytes() + b"\0"),
    _binary("binary, and data", {"inputs": [_image(**_sized(144), data=FLAT)]}, PIXELS[:1].tobytes()),
    _binary("binary, no size", {"inputs": [_image()]}, PIXELS[:1].tobytes()),
    _binary("binary, size as text", {"inputs": [_image(parameters={"binary_data_size": "144"})]}, PIXELS[:1].tobytes()),
    Case("header length as text", "POST", INFER, b"{}", {HEADER: "two"}),
    Case("header length above the body", "POST", INFER, b"{}", {HEADER: "3"}),
    Case("negative header length", "POST", INFER, b"{}", {HEADER: "-1"}),
    _raw("raw", PIXELS[:1].tobytes()),
    _raw("raw, 2 images", PIXELS.tobytes()),
    _raw("raw, not whole images", PIXELS[:1].tobytes()[1:]),
    _raw("raw, empty", b""),
    _raw("raw floats", floats(1).tobytes(), "/v2/models/{float}/infer"),
    _raw("raw file", PNG, FILES),
    _raw("raw, no image", b"no image", FILES),
    _binary("file", {"inputs": [{**FILE, **_sized(len(ELEMENT))}]}, ELEMENT, FILES),
    _binary("2 files", {"inputs": [{**FILE, "shape": [2, 1], **_sized(2 * len(ELEMENT))}]}, 2 * ELEMENT, FILES),
    _binary("file, shape [1]", {"inputs": [{**FILE, "shape": [1], **_sized(len(ELEMENT))}]}, ELEMENT, FILES),
    _binary("file cut off", {"inputs": [{**FILE, **_sized(len(ELEMENT) - 1)}]}, ELEMENT[:-1], FILES),
    _binary("more files than the shape has", {"inputs": [{**FILE, **_sized(2 * len(ELEMENT))}]}, 2 * ELEMENT, FILES),
    _binary(
        "fewer files than the shape has",
        {"inputs": [{**FILE, "shape": [2, 1], **_sized(len(ELEMENT))}]},
        ELEMENT,
        FILES,
    ),
    _binary("no image file", {"inputs": [{**FILE, **_sized(12)}]}, b"\x08\0\0\0no image", FILES),
    _binary(
        "2 classes of a file",
        {
            "inputs": [{**FILE, **_sized(len(ELEMENT))}],
            "outputs": [{"name": "logits", "parameters": {"classification": 2}}],
        },
        ELEMENT,
        FILES,
    ),
    _json("file in JSON as base64", {"inputs": [{**FILE, "data": [base64.b64encode(PNG).decode()]}]}, FILES),
    _json("file in JSON as text", {"inputs": [{**FILE, "data": ["no image"]}]}, FILES),
]
WARM_UP = [
    _json(f"first of {name}", {"inputs": [tensor]}, f"/v2/models/{name}/infer")
    for name, tensor in (("{mean}", IMAGE), ("{mean}/versions/1", IMAGE), ("{float}", FLOATS))
]
"""Requests after which every version has statistics."""

CASES = [*SERVER, *MODEL, *INFERENCE]
assert len({case.name for case in CASES}) == len(CASES)
