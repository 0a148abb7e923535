"""Monitoring: the configuration is valid, alerts fire under their conditions, and every query returns data."""

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.engines import free_port
from deploy.monitoring import dashboard
from tests.deploy.programs import ROOT, run
from tests.service.process import serving

MONITORING = ROOT / "deploy" / "monitoring"
ALERTS = (MONITORING / "alerts.yml").read_text()
SECONDS = 30
"""Seconds within which Prometheus must have scraped twice."""


def test_prometheus_accepts_its_configuration_and_the_alerts() -> None:
    done = run("promtool", "check", "config", MONITORING / "prometheus.yml")
    assert done.returncode == 0, done.stderr
    assert "rule files found" in done.stdout


@pytest.mark.slow
def test_alerts_fire_exactly_when_they_should() -> None:
    done = run("promtool", "test", "rules", MONITORING / "alerts_test.yml")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("correct", "broken"),
    [
        (
            "expr: max by (model, variant) (posbake_backend_up) * 0 + 0.5",
            "expr: max by (model, variant) (posbake_backend_up) * 0 + 5",
        ),
        ("for: 1m", "for: 20m"),
        ("> 0.01", "> 0.06"),
        ("* 600 > 32", "* 600 > 320"),
        ("posbake_backend_up == 0", "posbake_backend_up == 2"),
        ("unless posbake_model_loads_total offset 15m", "unless posbake_model_loads_total"),
        ("increase(posbake_abandoned_total", "-increase(posbake_abandoned_total"),
        ("unless sum by (job) (increase(posbake_requests_total[15m])) > 0", "unless vector(0) == 1"),
    ],
)
def test_a_broken_alert_is_detected(tmp_path: Path, correct: str, broken: str) -> None:
    assert ALERTS.count(correct) == 1, correct
    (tmp_path / "alerts.yml").write_text(ALERTS.replace(correct, broken))
    (tmp_path / "alerts_test.yml").write_text((MONITORING / "alerts_test.yml").read_text())
    assert run("promtool", "test", "rules", tmp_path / "alerts_test.yml").returncode != 0


def test_every_alert_has_a_test_case_that_fires_and_one_that_does_not() -> None:
    names = re.findall(r"- alert: (\w+)", ALERTS)
    cases = (MONITORING / "alerts_test.yml").read_text()
    assert len(names) == len(set(names)) >= 8
    for name in names:
        assert re.search(rf"- alertname: {name}\n\s+eval_time: \w+\n\s+exp_alerts", cases), name
        assert f"{{alertname: {name}, eval_time" in cases, name


def test_the_dashboard_file_is_up_to_date_with_its_panels() -> None:
    assert dashboard.FILE.read_text() == dashboard.text(), "run python -m deploy.monitoring.dashboard"


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard.dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_dashboard_shows_every_metric_that_the_alerts_use() -> None:
    alerted = set(re.findall(r"posbake_\w+", "\n".join(re.findall(r"expr:(.*?)(?=\n {6,8}\w)", ALERTS, re.DOTALL))))
    assert len(alerted) >= 6
    assert alerted <= set(re.findall(r"posbake_\w+", dashboard.FILE.read_text())) | {"posbake_latency_target_seconds"}


@pytest.mark.slow
def test_every_query_has_data_of_a_running_service(tmp_path: Path, digits_repository: Path) -> None:
    repository = tmp_path / "artifacts"
    shutil.copytree(digits_repository / "digits" / "none", repository / "digits" / "none")
    queries = {
        query.over_everything("5s"): panel.title
        for panel in dashboard.PANELS
        if not panel.needs_gpu
        for query in panel.queries
    }
    recorded = dict.fromkeys(re.findall(r"record: (\S+)", ALERTS), "alerts.yml")
    image = (ROOT / "examples" / "digits" / "samples" / "7.png").read_bytes()
    with serving(tmp_path, "--repository", str(repository)) as service, prometheus(tmp_path, service.url) as port:
        wanted, end = queries | recorded, time.monotonic() + SECONDS
        while wanted and time.monotonic() < end:
            assert classify(service.url, image) == 200
            assert classify(service.url, b"no image") == 400
            wanted = {query: title for query, title in wanted.items() if not values(port, query)}
        assert not wanted
        by_status = values(port, dashboard.PANELS[0].queries[0].over_everything("5s"))
        assert by_status.keys() == {"200", "400"}
        rules = [rule for group in get(port, "rules")["groups"] for rule in group["rules"]]
    assert len(rules) == ALERTS.count("expr:")
    assert {(rule["name"], rule["health"]) for rule in rules} == {(rule["name"], "ok") for rule in rules}


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[int]:
    """Run Prometheus, scraping once per second, and yield its port."""
    config = directory / "prometheus.yml"
    config.write_text(
        (MONITORING / "prometheus.yml")
        .read_text()
        .replace("10s", "1s")
        .replace("cpu:8000", target.removeprefix("http://"))
    )
    (directory / "alerts.yml").write_text(ALERTS)
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    process = subprocess.Popen(command)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


def values(port: int, query: str) -> dict[str, float]:
    """Return the values of a query by the first label's value; also empty while Prometheus starts."""
    found = get(port, "query?" + urllib.parse.urlencode({"query": query})).get("result", [])
    return {next(iter(series["metric"].values()), ""): float(series["value"][1]) for series in found}


def get(port: int, path: str) -> dict[str, Any]:
    """Return the data of a response of Prometheus, empty while it starts."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
    except urllib.error.URLError as error:
        if isinstance(error, urllib.error.HTTPError) and error.code != 503:
            raise
        return {}
    return data


def classify(url: str, image: bytes) -> int:
    request = urllib.request.Request(f"{url}/v1/classify", image, {"Content-Type": "image/png"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
