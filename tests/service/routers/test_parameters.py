"""Parameters under /v1, in the query, JSON and forms; unknown names and two different values are refused."""

import base64
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.requests import Request
from tests.service.routers.test_bodies import B64, PNG, refused
from tests.service.scripted import HANG, fresh, picture

CLASSIFY = ("model", "top_k", "threshold", "timeout_ms", "variant", "version")
COMPARE = ("model", "top_k", "threshold", "timeout_ms", "variants")


def in_query(client: TestClient, path: str, **parameters: object) -> httpx2.Response:
    return client.post(path, params=parameters, content=PNG)  # type: ignore[arg-type]


def in_json(client: TestClient, path: str, **parameters: object) -> httpx2.Response:
    return client.post(path, json={"image": B64, **parameters})


def in_form(client: TestClient, path: str, **parameters: object) -> httpx2.Response:
    return client.post(path, files={"image": PNG}, data={name: str(value) for name, value in parameters.items()})


Send = Callable[..., httpx2.Response]
LOCATIONS: list[Send] = [in_query, in_json, in_form]


@pytest.mark.parametrize("send", LOCATIONS)
@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        *(("varient", "variant"), ("variants", "variant"), ("Variant", "variant"), ("VARIANT", "variant")),
        *(("k", "top_k"), ("topk", "top_k"), ("top-k", "top_k"), ("timeout", "timeout_ms"), ("mdoel", "model")),
        *((" variant", "variant"), ("model_name", "model"), ("x" * 5000, None), ("", None)),
    ],
)
def test_an_unknown_name_is_422_and_the_nearest_is_suggested(
    client: TestClient,
    send: Send,
    name: str,
    nearest: str | None,
) -> None:
    detail = refused(send(client, "/v1/classify", **{name: "mean"}))
    assert (
        f"unknown {'query parameter' if send is in_query else 'JSON member' if send is in_json else 'form field'}"
        in detail
    )
    assert ", ".join(CLASSIFY) in detail
    if nearest is not None:
        assert f"did you mean {nearest!r}?" in detail
    assert len(detail) < 300


@pytest.mark.parametrize("send", LOCATIONS)
def test_each_route_has_its_own_names(client: TestClient, send: Send) -> None:
    assert "did you mean 'variants'?" in refused(send(client, "/v1/compare", variant="mean"))
    assert "did you mean 'variant'?" in refused(send(client, "/v1/classify", variants="mean"))
    assert ", ".join(COMPARE) in refused(send(client, "/v1/compare", version=1))


def test_every_route_checks_its_query(client: TestClient) -> None:
    operations = [
        (method, path.format(model="colours", variant="mean", name="table"))
        for path, found in client.get("/openapi.json").json()["paths"].items()
        for method in found
        if path.startswith("/v1")
    ]
    assert {("get", "/v1/latency"), ("get", "/v1/models/colours"), ("post", "/v1/compare")} <= set(operations)
    for method, path in operations:
        response = client.request(method, path, params={"varient": "mean"}, content=PNG if method == "post" else None)
        assert "unknown query parameter 'varient'; " in refused(response), path
    assert "did you mean 'variant'? known: model, variant" in refused(client.get("/v1/latency?varient=mean"))
    assert "this endpoint has none" in refused(client.get("/v1/models?model=colours"))


@pytest.mark.parametrize("send", LOCATIONS)
def test_parameters_are_used_in_every_location(client: TestClient, send: Send) -> None:
    answer = send(client, "/v1/classify", model="colours", variant="mean", version=2, top_k=3, timeout_ms=20_000).json()
    assert (answer["variant"], answer["version"], len(answer["predictions"])) == ("mean", 2, 3)
    answer = send(client, "/v1/compare", variants="float,mean", top_k=1, timeout_ms=20_000).json()
    assert [found["variant"] for found in answer["variants"]] == ["float", "mean"]
    assert {len(found["predictions"]) for found in answer["variants"]} == {1}


@pytest.mark.parametrize("send", LOCATIONS)
@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        *(
            ("top_k", 0, 422),
            ("top_k", "x", 422),
            ("top_k", 1.5, 422),
            ("top_k", "1_0", 422),
            ("top_k", " 5 ", 422),
            ("version", "1_0", 422),
            ("timeout_ms", "20_000", 422),
            ("threshold", "0_0.5", 422),
            ("threshold", "0.5 ", 422),
            ("version", -1, 422),
            ("timeout_ms", 10**9, 422),
        ),
        *(("variant", "rope", 404), ("model", "birds", 404), ("version", 3, 404)),
    ],
)
def test_an_invalid_value_is_refused_in_every_location(
    client: TestClient,
    send: Send,
    name: str,
    value: object,
    status: int,
) -> None:
    response = send(client, "/v1/classify", **{name: value})
    detail = refused(response, status)
    assert str(value) in detail
    if status == 422:
        assert response.json()["parameters"][0]["parameter"] == name


def test_a_deadline_applies_in_every_location(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    image = base64.b64encode(picture(HANG)).decode()
    requests: list[Request] = [
        {"json": {"image": image, "timeout_ms": 120}},
        {"json": {"image": base64.b64encode(picture(HANG) + bytes(300_000)).decode(), "timeout_ms": 120}},
        {"files": {"image": picture(HANG)}, "data": {"timeout_ms": "120"}},
    ]
    app = create_app(Settings(repository=tmp_path, backend="scripted", threads=1))
    with fresh() as backend, TestClient(app) as client:
        for path in ("/v1/classify", "/v1/compare"):
            for request in requests:
                assert "no response within the allowed 120 ms" in refused(client.post(path, **request), 504)
        backend.gate.set()
        assert in_json(client, "/v1/classify", timeout_ms=20_000).status_code == 200


def test_a_model_may_be_named_in_the_body_without_a_default(tmp_path: Path) -> None:
    for model in ("colours", "birds"):
        add_artifact(tmp_path, model=model)
    with TestClient(create_app(Settings(repository=tmp_path, threads=1))) as client:
        assert "model" in refused(in_query(client, "/v1/classify"))
        for send in LOCATIONS:
            for path in ("/v1/classify", "/v1/compare"):
                assert send(client, path, model="birds").json()["model"] == "birds"


@pytest.mark.parametrize(
    ("query", "request_"),
    [
        ("variant=mean&variant=float", {"content": PNG}),
        ("variant=mean", {"json": {"image": B64, "variant": "float"}}),
        ("variant=mean", {"files": {"image": PNG}, "data": {"variant": "float"}}),
        ("", {"files": {"image": PNG}, "data": {"variant": ["mean", "float"]}}),
        (
            "",
            {
                "content": f'{{"image": "{B64}", "variant": "mean", "variant": "float"}}'.encode(),
                "headers": {"Content-Type": "application/json"},
            },
        ),
        (
            "",
            {
                "content": f'{{"variant": "mean", "\\u0076ariant": "float", "image": "{B64}"}}'.encode(),
                "headers": {"Content-Type": "application/json"},
            },
        ),
    ],
    ids=["query", "query and JSON", "query and form", "form", "JSON", "JSON, escaped"],
)
def test_two_values_of_one_parameter_are_422(client: TestClient, query: str, request_: Request) -> None:
    assert "variant is given twice, as mean" in refused(client.post(f"/v1/classify?{query}", **request_))


def test_two_lists_of_variants_are_422(client: TestClient) -> None:
    assert "variants is given twice, as mean and as float" in refused(
        client.post("/v1/compare?variants=mean&variants=float", content=PNG)
    )
    assert "model is given twice" in refused(client.get("/v1/latency?model=colours&model=birds"))


@pytest.mark.parametrize(
    ("query", "request_"),
    [
        ("top_k=2&top_k=2", {"content": PNG}),
        ("top_k=2", {"json": {"image": B64, "top_k": 2}}),
        ("top_k=2", {"json": {"image": B64, "top_k": "02"}}),
        ("top_k=2", {"files": {"image": PNG}, "data": {"top_k": "2"}}),
        ("", {"files": {"image": PNG}, "data": {"top_k": ["2", "2"]}}),
        ("top_k=2", {"json": {"image": B64, "variant": "mean"}}),
        ("", {"json": {"image": B64, "top_k": 2.0, "version": None, "model": None}}),
    ],
)
def test_the_same_value_twice_is_allowed(client: TestClient, query: str, request_: Request) -> None:
    response = client.post(f"/v1/classify?{query}", **request_)
    assert response.status_code == 200, response.text
    assert len(response.json()["predictions"]) == 2


def test_variants_may_be_a_list_in_json(client: TestClient) -> None:
    answer = in_json(client, "/v1/compare", variants=["float", "mean"]).json()
    assert [found["variant"] for found in answer["variants"]] == ["float", "mean"]


@pytest.mark.parametrize("value", [True, [1], ["mean"], {"a": 1}])
def test_a_json_value_of_another_type_is_422(client: TestClient, value: object) -> None:
    detail = refused(in_json(client, "/v1/classify", variant=value))
    assert detail.startswith("JSON member 'variant' is ")
    assert "expected a string or a number" in detail


def test_a_long_value_is_422_and_not_repeated(client: TestClient) -> None:
    for send in (in_json, in_form):
        assert "has 500000 characters, at most 4096 are allowed" in refused(
            send(client, "/v1/classify", variant="x" * 500_000)
        )


def test_a_large_form_is_parsed_on_another_thread_with_the_same_result(client: TestClient) -> None:
    padded = PNG + bytes(400_000)
    encoded = base64.b64encode(padded).decode()
    requests: list[Request] = [
        {"json": {"image": encoded, "variant": "mean", "version": 2}},
        {"files": {"image": padded}, "data": {"variant": "mean", "version": "2"}},
    ]
    for request in requests:
        response = client.post("/v1/classify", **request)
        answer = response.json()
        assert (answer["variant"], answer["version"]) == ("mean", 2)
        stages = {name: ms for name, ms in answer["latency_ms"].items() if name != "total"}
        assert sum(stages.values()) == pytest.approx(answer["latency_ms"]["total"], abs=0.01)
    assert "unknown JSON member 'varient'" in refused(
        client.post("/v1/classify", json={"image": encoded, "varient": 1})
    )


def test_openapi_documents_the_parameters_in_the_body(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, names in (("/v1/classify", CLASSIFY), ("/v1/compare", COMPARE)):
        operation = paths[path]["post"]
        assert {parameter["name"] for parameter in operation["parameters"]} == set(names)
        for media_type in ("application/json", "multipart/form-data"):
            schema = operation["requestBody"]["content"][media_type]["schema"]
            assert set(schema["properties"]) == {"image", *names}
            assert (schema["required"], schema["additionalProperties"]) == (["image"], False)
    assert all(
        "422" in operations["get"]["responses"] for path, operations in paths.items() if path.startswith("/v1/m")
    )
