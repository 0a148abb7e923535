"""Direct routes: endpoints documented by FastAPI and called by DirectRoutes."""

from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.testclient import TestClient
from starlette.middleware import Middleware

from service.app import create_app
from service.settings import Settings
from service.transport.routes import DirectRoute, DirectRoutes
from tests.service.pictures import encode, random_pixels

PNG = encode(random_pixels())

router = APIRouter(prefix="/under", route_class=DirectRoute)


@router.post("/{name}/to/{version}")
async def named(request: Request) -> Response:
    return Response(repr((request.path_params, request.scope["route"].path)))


def test_the_busiest_endpoints_are_called_without_fastapis_router(repository: Path) -> None:
    app = create_app(Settings(repository=repository))
    app.router.routes.clear()
    with TestClient(app) as client:
        for path in ("/v1/classify", "/v1/compare", "/v2/models/colours/infer", "/v2/models/colours/versions/1/infer"):
            headers = {"Content-Type": "image/png", "Inference-Header-Content-Length": "0"}
            assert client.post(path, content=PNG, headers=headers).status_code == 200, path
        assert client.get("/v1/latency").status_code == 404  # the other routes are FastAPI's


@pytest.mark.parametrize("path", ["/v1/classify", "/v2/models/colours/infer"])
def test_an_unexpected_exception_of_a_direct_endpoint_is_a_problem(repository: Path, path: str) -> None:
    app = create_app(Settings(repository=repository))
    with TestClient(app) as client:
        serving, app.state.serving = app.state.serving, object()  # has no attribute that an endpoint needs
        response = client.post(path, content=PNG, headers={"X-Request-Id": "mine"})
        app.state.serving = serving
    assert response.status_code == 500
    assert response.headers["X-Request-Id"] == "mine"
    assert "object has no attribute" not in response.text


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/compare", "/v2/models/colours/infer"])
def test_other_methods_on_direct_routes_are_405(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]


def test_path_parameters_match_whole_segments_only() -> None:
    app = FastAPI(middleware=[Middleware(DirectRoutes, routers=[router])])
    client = TestClient(app)
    parameters = {"name": "a b", "version": "2"}
    assert client.post("/under/a%20b/to/2").text == repr((parameters, "/under/{name}/to/{version}"))
    for path in ("/under/a/b/to/2", "/under/a/to/2/", "/under/a/to/", "/x/under/a/to/2"):
        assert client.post(path).status_code == 404
