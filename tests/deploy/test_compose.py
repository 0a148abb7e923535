"""docker-compose.yml: valid with every profile, with hardened services."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyCompose
from compose_spec.models import Service

from service.settings import Settings
from tests.deploy.programs import PATH, ROOT, run

pytestmark = pytest.mark.slow

SERVING = {"cpu": None, "cuda": "gpu", "tensorrt": "tensorrt"}
ALWAYS = {"cpu", "digits"}
FILE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> "Compose":
    return Compose(tmp_path_factory.mktemp("podman"))


class Compose:
    """podman-compose, which interpolates and merges like docker compose, with a fake podman that prints a version."""

    def __init__(self, directory: Path) -> None:
        podman = directory / "podman"
        podman.write_text("#!/bin/sh\necho podman version 5.0.0\n")
        podman.chmod(0o755)
        self._path = f"{directory}:{PATH}"
        self.text = cache(self._text)

    def _text(self, *options: str, **variables: str) -> str:
        """Return the configuration with merges and variables resolved."""
        done = run("podman-compose", *options, "config", **{"PATH": self._path, **variables})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def read(self, *options: str, **variables: str) -> dict[str, Any]:
        """Return the validated configuration."""
        return validated(self.text(*options, **variables))


def validated(text: str) -> dict[str, Any]:
    """Return a document validated against the Compose specification; raise ValueError if it is invalid.

    The library does not support restart counts, and accepts unknown keys, which are checked here.
    """
    document = PyCompose.from_yaml(re.sub(r"restart: on-failure:\d+", "restart: on-failure", text)).to_dict()
    known = {field.alias or name for name, field in Service.model_fields.items()}
    for name, service in document["services"].items():
        if unknown := {key for key in service if not key.startswith("x-")} - known:
            raise ValueError(f"services.{name} has {unknown}")
    return document


@pytest.mark.parametrize(
    ("profiles", "services"),
    [
        ((), ALWAYS),
        (("gpu",), ALWAYS | {"cuda"}),
        (("tensorrt",), ALWAYS | {"tensorrt"}),
        (("gateway",), ALWAYS | {"gateway"}),
        (("monitoring",), ALWAYS | {"prometheus", "grafana"}),
    ],
)
def test_every_profile_is_valid(compose: Compose, profiles: tuple[str, ...], services: set[str]) -> None:
    options = [option for profile in profiles for option in ("--profile", profile)]
    found = compose.read(*options)["services"]
    active = {name for name, service in found.items() if set(service.get("profiles", profiles)) <= set(profiles)}
    assert active == services


def test_the_validation_finds_a_missing_capability_and_a_misspelt_key(compose: Compose) -> None:
    text = compose.text(*all_profiles())
    with pytest.raises(ValueError, match="capabilities"):
        validated(re.sub(r"capabilities:\n\s*- gpu\n\s*", "", text))
    with pytest.raises(ValueError, match="stop_grace_perod"):
        validated(text.replace("stop_grace_period", "stop_grace_perod"))


def test_every_container_is_hardened(compose: Compose) -> None:
    services = compose.read(*all_profiles())["services"]
    assert services.keys() == {"cpu", "cuda", "tensorrt", "digits", "gateway", "prometheus", "grafana"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["tmpfs"]


def test_services_drain_before_they_are_killed_and_restart_three_times_at_most(compose: Compose) -> None:
    services = compose.read(*all_profiles())["services"]
    text = FILE.read_text()
    # The serving profiles' shared settings, gateway, Prometheus and Grafana.
    assert re.findall(r"restart: (on\S+)", text) == ["on-failure:3"] * 4
    for name in SERVING:
        grace = int(re.fullmatch(r"(\d+)s", services[name]["stop_grace_period"])[1])  # type: ignore[index]
        assert grace > float(services[name]["environment"]["POSBAKE_DRAIN_SECONDS"]) + 5


def test_artifacts_are_read_only_except_for_the_export_of_the_demo(compose: Compose) -> None:
    services = compose.read(*all_profiles(), ARTIFACTS="/srv/artifacts")["services"]
    for name in SERVING:
        engines = ["engines:/engines"] if name == "tensorrt" else []
        assert services[name]["volumes"] == ["/srv/artifacts:/artifacts:ro", *engines]
        assert services[name]["depends_on"]["digits"]["condition"] == "service_completed_successfully"
    assert services["digits"]["volumes"] == ["/srv/artifacts:/artifacts"]


def test_the_base_is_pinned_by_digest_to_the_tag_of_the_dockerfile(compose: Compose) -> None:
    tag = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert tag is not None
    for services, expected in (
        (compose.read(*all_profiles())["services"], re.escape(tag[1]) + r"@sha256:[0-9a-f]{64}"),
        (compose.read(*all_profiles(), BASE="local/python")["services"], "local/python"),
    ):
        built = {name: service["build"]["args"] for name, service in services.items() if "build" in service}
        assert built.keys() == {*SERVING, "digits"}
        for arguments in built.values():
            assert any(re.fullmatch(f"BASE={expected}", argument) for argument in arguments), arguments


def test_gpus_are_reserved_for_the_images_that_use_them(compose: Compose) -> None:
    services = compose.read(*all_profiles())["services"]
    for name, profile in SERVING.items():
        reserved = services[name].get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices")
        if profile is None:
            assert reserved is None
        else:
            assert [(device["driver"], device["capabilities"]) for device in reserved] == [("nvidia", ["gpu"])]
        assert services[name]["build"]["target"] == name


def test_ports_are_published_on_the_loopback_interface_except_for_the_gateway(compose: Compose) -> None:
    services = compose.read(*all_profiles(), PORT="80")["services"]
    assert services["cpu"]["ports"] == ["127.0.0.1:80:8000"]
    for name in (*SERVING, "prometheus", "grafana"):
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])
    assert services["gateway"]["ports"] == ["8443:8443"]


def test_keys_are_a_secret_whose_file_must_be_named(compose: Compose) -> None:
    options = (*all_profiles(), "-f", "docker-compose.yml", "-f", "deploy/compose.keys.yml")
    document = compose.read(*options, KEYS="/etc/posbake/api_keys")
    assert document["secrets"]["api_keys"] == {"file": "/etc/posbake/api_keys"}
    for name in SERVING:
        assert document["services"][name]["secrets"] == ["api_keys"]
        assert document["services"][name]["environment"]["POSBAKE_API_KEYS_FILE"] == "/run/secrets/api_keys"
        assert document["services"][name]["read_only"] is True
    with pytest.raises(AssertionError, match="name the file of API keys"):
        compose.read(*options)


def test_variables_that_start_with_posbake_are_settings() -> None:
    named = {
        name.lower() for name in re.findall(r"POSBAKE_(\w+)", (ROOT / "Dockerfile").read_text() + FILE.read_text())
    }
    assert named
    assert named <= Settings.model_fields.keys()


def all_profiles() -> list[str]:
    return [option for profile in ("gpu", "tensorrt", "gateway", "monitoring") for option in ("--profile", profile)]


def test_prometheus_scrapes_the_service_and_grafana_is_configured_for_both(compose: Compose) -> None:
    services = compose.read(*all_profiles())["services"]
    monitoring = ROOT / "deploy" / "monitoring"
    target = re.search(r'targets: \["(\w+):(\d+)"\]', (monitoring / "prometheus.yml").read_text())
    assert target is not None
    assert target[1] in services
    assert services[target[1]]["ports"][0].endswith(f":{target[2]}")
    source = (monitoring / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    assert "url: http://prometheus:9090" in source
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert all(not path.startswith(".") or (ROOT / path).exists() for path in mounts)
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in mounts.values()
    provider = (monitoring / "grafana" / "provisioning" / "dashboards" / "posbake.yml").read_text()
    assert f"path: {Path(home).parent}\n" in provider
