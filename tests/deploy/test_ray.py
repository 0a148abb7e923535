"""Ray Serve: config files are consistent with each other, KubeRay's schema and the service's settings.

These tests do not need Ray: `python -m benchmarks.ray_serve` runs two replicas.
"""

import ast
import json
from importlib import import_module
from typing import Any

import jsonschema
import pytest
import yaml

from service.settings import Settings
from tests.deploy.programs import ROOT
from tests.deploy.test_kubernetes import SCHEMAS

RAY = ROOT / "deploy" / "ray"


@pytest.fixture
def local() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((RAY / "serve.yaml").read_text())
    return document


@pytest.fixture
def resource() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((RAY / "rayservice.yaml").read_text())
    return document


def test_the_resource_is_valid(resource: dict[str, Any]) -> None:
    schema = json.loads((SCHEMAS / "RayService.json").read_text())
    jsonschema.validate(resource, schema)
    with pytest.raises(jsonschema.ValidationError, match="workerGroupSpec"):
        jsonschema.validate(json.loads(json.dumps(resource).replace("workerGroupSpecs", "workerGroupSpec")), schema)


def test_both_configs_start_the_same_application(local: dict[str, Any], resource: dict[str, Any]) -> None:
    remote = yaml.safe_load(resource["spec"]["serveConfigV2"])
    for config in (local, remote):
        config["http_options"].pop("host")
        config["applications"][0]["args"].pop("repository")
    assert remote == local


def test_arguments_are_settings_and_cores_are_threads(local: dict[str, Any], resource: dict[str, Any]) -> None:
    application = local["applications"][0]
    assert application["args"].keys() <= Settings.model_fields.keys()
    assert application["args"]["threads"] == application["deployments"][0]["ray_actor_options"]["num_cpus"]
    worker = resource["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    assert float(worker["resources"]["limits"]["cpu"]) >= application["args"]["threads"]
    wait = local["http_options"]["request_timeout_s"]
    longest = max(Settings.model_fields["timeout_ms"].default / 1000, Settings.model_fields["request_timeout"].default)
    assert wait > longest


def test_the_application_exists_at_the_configured_path(local: dict[str, Any]) -> None:
    module, _, function = local["applications"][0]["import_path"].partition(":")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert [argument.arg for argument in functions[function].args.args] == ["arguments"]
    names = [
        keyword.value.value
        for node in ast.walk(functions[function])
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    ]
    assert names == [local["applications"][0]["deployments"][0]["name"]]


def test_every_node_loads_the_middleware_of_the_proxy(resource: dict[str, Any]) -> None:
    name = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
    cluster = resource["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        variables = {row["name"]: row["value"] for row in group["template"]["spec"]["containers"][0]["env"]}
        module, _, function = variables[name].partition(":")
        assert getattr(import_module(module), function)()
    assert f"{name}={module}:{function}\n" in (RAY / "serve.yaml").read_text()
