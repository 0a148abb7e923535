"""`predict --ray` on a local cluster: the same rows as without a cluster."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest

from artifact import Location
from service.catalogue.loading import Loader
from service.offline.__main__ import main
from service.offline.cluster import _runner, running_on
from service.offline.errors import ClusterError
from service.offline.running import Runner, running
from service.offline.stopping import Stopping
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.offline.servables import location_of
from tests.service.offline.test_predict import predict, without_times

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a cluster of two nodes with one CPU each."""
    pytest.importorskip("ray.data", reason="Ray is not installed: `make ray` installs it")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    yield nodes.address
    nodes.shutdown()


def predict_on(address: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in its own process, because Ray's warnings would fail a test."""
    command = [sys.executable, "-m", "service.offline", "predict", *map(str, arguments), "--ray", address, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.ray
def test_a_cluster_adds_the_same_rows_as_this_process(
    cluster: str, colours: Path, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "damaged.png").write_bytes(b"\x89PNG")
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    for output in (here, there):
        assert predict(pictures / "red", "--repository", colours, "--output", output) == 0
    run = predict_on(cluster, pictures, "--repository", colours, "--output", there)
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout)
    assert (summary["written"], summary["skipped"], summary["errors"]) == (21, 10, 1)
    assert summary["backend"].endswith("-cpu")
    assert predict(pictures, "--repository", colours, "--output", here) == 0
    assert without_times(there) == without_times(here)


@pytest.mark.ray
def test_a_graph_that_fails_on_a_node_ends_the_run_with_the_reason(
    cluster: str, pictures: Path, tmp_path: Path
) -> None:
    add_artifact(tmp_path / "repository", logits="unrunnable")
    run = predict_on(cluster, pictures, "--repository", tmp_path / "repository", "--output", tmp_path / "p.csv")
    assert run.returncode == 1
    assert re.search("(ONNX Runtime failed while running|OpenVINO cannot run) the graph", run.stderr)
    assert "Traceback" not in run.stderr


def test_the_summary_is_written_to_stdout_although_ray_writes_to_stderr(
    colours: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A runner of this process takes the place of a cluster."""

    @contextmanager
    def running_here(_: str, location: Location, settings: Settings, __: Stopping) -> Iterator[Runner]:
        servable = Loader(settings).open(location)
        with redirect_stdout(sys.stderr), running(servable, settings) as runner:
            yield runner
        servable.backend.close()

    monkeypatch.setattr("service.offline.cluster.running_on", running_here)
    arguments = ["predict", str(pictures), "--repository", str(colours), "--output", str(tmp_path / "p.csv")]
    assert main([*arguments, "--ray", "local", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == 30


def test_without_ray_the_message_names_the_extra(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    opened = running_on("local", location_of(colours), Settings(repository=colours), Stopping())
    with pytest.raises(ClusterError, match=r"pip install 'posbake\[ray\]'"), opened:
        pass


@pytest.mark.parametrize(
    ("given", "threads", "most", "resources"),
    [
        ({}, 4, 5, {"num_cpus": 4}),  # as many as the smallest node has
        ({"threads": 8}, 8, 2, {"num_cpus": 8}),
        ({"threads": 2, "device": "cuda"}, 2, 3, {"num_cpus": 2, "num_gpus": 1}),
    ],
)
def test_processes_fill_the_nodes(
    colours: Path, given: dict[str, object], threads: int, most: int, resources: dict[str, float]
) -> None:
    nodes = [{"CPU": 4.0, "GPU": 8.0}, {"CPU": 16.0, "GPU": 1.0}, {"memory": 1e9}]
    found = _runner(location_of(colours), Settings.model_validate({"repository": colours, **given}), nodes)
    assert (found.settings.threads, found.processes, found.resources) == (threads, most, resources)


def test_nodes_with_too_few_cpus_are_an_error(colours: Path) -> None:
    settings = Settings(repository=colours, threads=8)
    with pytest.raises(ClusterError, match="no node of the cluster has 8 CPUs; give a smaller --threads"):
        _runner(location_of(colours), settings, [{"CPU": 4.0}])
