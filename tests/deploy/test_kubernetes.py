"""Manifests for Kubernetes and KServe: built by kustomize, valid, and consistent with the service's settings."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from deploy.monitoring import prometheus_rule
from service.settings import Settings
from tests.deploy.programs import ROOT, run

pytestmark = pytest.mark.slow

KUBERNETES = ROOT / "deploy" / "kubernetes"
KSERVE = ROOT / "deploy" / "kserve"
SCHEMAS = Path(__file__).parent / "schemas"
Resource = dict[str, Any]


def built(folder: Path) -> dict[str, Resource]:
    """Return the resources that kustomize builds from a folder, by kind."""
    done = run("kubectl", "kustomize", folder)
    assert done.returncode == 0, done.stderr
    return by_kind(yaml.safe_load_all(done.stdout))


def by_kind(resources: Iterable[Resource]) -> dict[str, Resource]:
    found = list(resources)
    assert len({resource["kind"] for resource in found}) == len(found)
    return {resource["kind"]: resource for resource in found}


def validate(resource: Resource) -> None:
    """Raise if a resource violates its schema or has an unknown member."""
    schema = SCHEMAS / f"{resource['kind']}.json"
    if schema.exists():
        jsonschema.validate(resource, json.loads(schema.read_text()))
    else:
        kubernetes_validate.validate(resource, "1.37", strict=True)


def overlay(directory: Path, base: str, *components: str) -> Path:
    """Write a user's overlay on one of ours, with components, and return it."""
    directory.mkdir()
    for name in ("base", "overlays", "components"):
        (directory.parent / name).symlink_to(KUBERNETES / name)
    lines = [f"resources: [../overlays/{base}]", "components:", *(f"  - ../components/{name}" for name in components)]
    (directory / "kustomization.yaml").write_text("\n".join(lines))
    return directory


@pytest.fixture(scope="module")
def cpu() -> dict[str, Resource]:
    return built(KUBERNETES / "overlays" / "cpu")


@pytest.fixture(scope="module")
def gpu() -> dict[str, Resource]:
    return built(KUBERNETES / "overlays" / "gpu")


@pytest.fixture(scope="module")
def monitoring() -> dict[str, Resource]:
    return built(KUBERNETES / "overlays" / "monitoring")


@pytest.fixture(scope="module")
def kserve() -> dict[str, Resource]:
    return by_kind(yaml.safe_load(path.read_text()) for path in sorted(KSERVE.glob("*.yaml")))


@pytest.mark.parametrize("name", ["cpu", "gpu", "monitoring", "kserve"])
def test_every_resource_is_valid(name: str, request: pytest.FixtureRequest) -> None:
    resources: dict[str, Resource] = request.getfixturevalue(name)
    assert resources
    for resource in resources.values():
        validate(resource)


def test_validation_finds_misspelt_members_and_wrong_values(
    cpu: dict[str, Resource], kserve: dict[str, Resource]
) -> None:
    for resource, correct, broken in (
        (cpu["Deployment"], '"readinessProbe"', '"readynessProbe"'),
        (cpu["HorizontalPodAutoscaler"], '"maxReplicas": 8', '"maxReplicas": "8"'),
        (kserve["ClusterServingRuntime"], '"protocolVersions"', '"protocolVersion"'),
        (kserve["InferenceService"], '"prometheus"', '"influx"'),
    ):
        text = json.dumps(resource)
        assert correct in text
        with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
            validate(json.loads(text.replace(correct, broken)))


def test_components_can_be_combined_with_overlays(tmp_path: Path) -> None:
    resources = built(overlay(tmp_path / "mine", "cpu", "keda", "digits", "api-keys"))
    for resource in resources.values():
        validate(resource)
    assert "HorizontalPodAutoscaler" not in resources
    assert resources["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == resources["Deployment"]["metadata"]["name"]
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for kind in ("Deployment", "Job")
        for volume in resources[kind]["spec"]["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert claims == [resources["PersistentVolumeClaim"]["metadata"]["name"]] * 2
    container = resources["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    keys = next(entry["value"] for entry in container["env"] if entry["name"] == "POSBAKE_API_KEYS_FILE")
    assert any(Path(keys).parent == Path(mount["mountPath"]) for mount in container["volumeMounts"])
    assert {entry["name"] for entry in container["env"]} >= {"POSBAKE_DRAIN_SECONDS"}, "the patch replaced the list"


def test_selectors_match_the_pods(cpu: dict[str, Resource], monitoring: dict[str, Resource]) -> None:
    labels = cpu["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert labels
    for kind, selector in (
        ("Deployment", cpu["Deployment"]["spec"]["selector"]["matchLabels"]),
        ("Service", cpu["Service"]["spec"]["selector"]),
        ("PodDisruptionBudget", cpu["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]),
        ("NetworkPolicy", cpu["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]),
    ):
        assert selector, kind
        assert selector.items() <= labels, kind
    scraped = monitoring["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
    assert scraped.items() <= cpu["Service"]["metadata"]["labels"].items()
    ports = {port["name"] for port in cpu["Service"]["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitoring["ServiceMonitor"]["spec"]["endpoints"]} <= ports


def test_pods_are_hardened(cpu: dict[str, Resource], kserve: dict[str, Resource]) -> None:
    pod = cpu["Deployment"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container, user in (
        (pod["containers"][0], pod["securityContext"]),
        (kserve["ClusterServingRuntime"]["spec"]["containers"][0], None),
    ):
        context = container["securityContext"]
        assert (user or context)["runAsNonRoot"] is True
        assert (user or context)["runAsUser"] == 10001
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["artifacts"]["readOnly"] is True


def test_a_pod_has_time_to_drain_and_to_load(cpu: dict[str, Resource]) -> None:
    pod = cpu["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    drain = float(next(entry["value"] for entry in container["env"] if entry["name"] == "POSBAKE_DRAIN_SECONDS"))
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= before + drain + 10
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= Settings.model_fields["load_timeout"].default
    ready = container["readinessProbe"]
    assert ready["periodSeconds"] <= before, "a pod that ends would still get requests"


def test_variables_are_settings(cpu: dict[str, Resource], kserve: dict[str, Resource]) -> None:
    for container in (
        cpu["Deployment"]["spec"]["template"]["spec"]["containers"][0],
        kserve["ClusterServingRuntime"]["spec"]["containers"][0],
    ):
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        names = {name.removeprefix("POSBAKE_").lower() for name in variables}
        assert names <= Settings.model_fields.keys()
        port = int(variables.get("POSBAKE_PORT", Settings.model_fields["port"].default))
        assert [port["containerPort"] for port in container["ports"]] == [port]


def test_a_gpu_is_requested_and_the_image_is_cuda(gpu: dict[str, Resource], cpu: dict[str, Resource]) -> None:
    container = gpu["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "posbake:cuda"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    strategy = gpu["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert (strategy["maxSurge"], strategy["maxUnavailable"]) == (0, 1)
    assert cpu["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"] == "posbake:cpu"


def test_the_autoscaler_scales_on_the_metric_of_the_adapter(cpu: dict[str, Resource]) -> None:
    spec = cpu["HorizontalPodAutoscaler"]["spec"]
    assert spec["scaleTargetRef"]["name"] == cpu["Deployment"]["metadata"]["name"]
    adapter = yaml.safe_load((KUBERNETES / "overlays" / "monitoring" / "adapter.yaml").read_text())
    names = [rule["seriesQuery"].partition("{")[0] for rule in adapter["rules"]["custom"]]
    assert [metric["pods"]["metric"]["name"] for metric in spec["metrics"]] == names == ["posbake_queue_images"]


def test_the_monitoring_overlay_has_the_alerts_and_the_dashboard(monitoring: dict[str, Resource]) -> None:
    assert prometheus_rule.FILE.read_text() == prometheus_rule.text(), "run python -m deploy.monitoring.prometheus_rule"
    alerts = yaml.safe_load((ROOT / "deploy" / "monitoring" / "alerts.yml").read_text())
    assert monitoring["PrometheusRule"]["spec"] == alerts
    dashboard = monitoring["ConfigMap"]
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["posbake.json"])["uid"] == "posbake"
