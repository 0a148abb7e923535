"""Test run of artifacts in a child process, so that a crash, hang or lack of memory does not end the server."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artifact import read_artifact
from service.backends import child, choose_ways
from service.backends.child import CHILDREN
from service.problems.errors import BackendUnavailableError, GraphError
from tests.service.artifacts import add_artifact
from tests.service.backends.test_golden import add
from tests.service.hostile_graphs import index_out_of_range, large_result, long_range, put_mean
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow

Damage = Callable[[Path], None]
GIB = 2**30


@pytest.fixture(scope="module", autouse=True)
def keep_child() -> Iterator[None]:
    """Use one child process for all of these tests, unless a test ends it."""
    with CHILDREN.kept():
        yield


@pytest.fixture(autouse=True)
def forget_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_passed", {})


def check(
    path: Path,
    seconds: float = 60,
    memory: int = 16 * GIB,
    arm: Callable[[Callable[[], object]], object] = lambda kill: None,  # noqa: ARG005
    backend: str = "openvino",
) -> None:
    artifact = read_artifact(path)
    (way,) = choose_ways(backend, "cpu", "fp32").of(artifact.manifest)
    way.check_in_child(artifact, 8, memory, seconds, arm)


def damaged(repository: Path, damage: Damage) -> Path:
    add_artifact(repository)
    damage(repository / "colours/mean/1")
    return repository / "colours/mean/1"


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_runnable_artifact_passes_with_and_without_a_golden_file(tmp_path: Path, backend: str) -> None:
    add_artifact(tmp_path, variant="unchecked")
    for path in (add(tmp_path), tmp_path / "colours/unchecked/1"):
        check(path, backend=backend)


def test_a_graph_that_crashes_openvino_is_refused_with_the_signal_and_the_next_one_passes(tmp_path: Path) -> None:
    path = damaged(tmp_path, index_out_of_range)
    with pytest.raises(GraphError, match="its test run by OpenVinoBackend in a child process was ended by SIG"):
        check(path)
    put_mean(path)
    check(path)


def test_a_graph_over_its_time_limit_is_ended(tmp_path: Path) -> None:
    path = damaged(tmp_path, long_range)
    with pytest.raises(GraphError, match=r"took longer than 0\.5 s"):
        check(path, seconds=0.5)


def test_the_time_limit_of_a_load_ends_its_own_graph_only(tmp_path: Path) -> None:
    timers: list[threading.Timer] = []
    kills: list[Callable[[], object]] = []

    def arm(kill: Callable[[], object]) -> None:
        kills.append(kill)
        timers.append(threading.Timer(0.5, kill))
        timers[-1].start()

    path = damaged(tmp_path, long_range)
    with pytest.raises(GraphError, match="was ended by SIGKILL"):
        check(path, arm=arm)
    put_mean(path)
    check(path, arm=lambda _: kills[0]())  # the kill function of a load whose check has ended


def test_a_graph_over_the_memory_limit_is_refused_and_passes_with_a_higher_limit(tmp_path: Path) -> None:
    path = damaged(tmp_path, large_result)
    with pytest.raises(GraphError, match=r"bad_alloc|memory|SIG"):
        check(path, memory=GIB // 4)
    check(path)


def test_an_artifact_that_passed_runs_again_only_if_its_content_or_precision_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add(tmp_path)
    check(path)
    requests: list[object] = []

    def ask(*arguments: object) -> dict[str, str]:
        requests.append(arguments)
        return {"verdict": "passed", "text": ""}

    monkeypatch.setattr(CHILDREN, "ask", ask)
    check(path)
    assert requests == []
    artifact = read_artifact(path)
    (lower,) = choose_ways("openvino", "cpu", "bf16").of(artifact.manifest)
    lower.check_in_child(artifact, 8, GIB, 60, lambda kill: None)  # noqa: ARG005
    put_mean(path, factor=2)
    check(path)
    assert len(requests) == 2


def test_a_backend_unavailable_in_the_child_is_reported_as_unavailable(tmp_path: Path) -> None:
    artifact = read_artifact(add(tmp_path))
    (way,) = choose_ways("onnxruntime", "cpu", "bf16").of(artifact.manifest)
    with pytest.raises(BackendUnavailableError, match="ONNX Runtime has no bf16 on the CPU"):
        way.check_in_child(artifact, 8, GIB, 60, lambda kill: None)  # noqa: ARG005


SERVER = """
import sys
from pathlib import Path
from tests.service.backends.test_child import check

print("started", flush=True)
check(Path(sys.argv[1]))
"""


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(one) for task in tasks.iterdir() for one in (task / "children").read_text().split()]


def has_ended(pid: int) -> bool:
    try:
        return ") Z" in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_a_killed_servers_child_processes_end(tmp_path: Path) -> None:
    path = damaged(tmp_path, long_range)
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(path)], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        # The first graph that it forks for is small, the second is endless.
        wait_until(lambda: any(cpu_seconds(running) > 0.5 for one in children(server.pid) for running in children(one)))
        (forking,) = children(server.pid)
        (running,) = children(forking)
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: has_ended(forking) and has_ended(running))
    finally:
        server.kill()
        server.communicate()


def cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_kept_children_end_with_the_context(tmp_path: Path) -> None:
    own = child.Children()
    with own.kept():
        artifact = read_artifact(add(tmp_path))
        request = {"module": "", "backend": "", "memory": 16 * GIB, "manifest": "", "path": str(artifact.path)}
        assert own.ask(request, 60) == {"verdict": "passed", "text": ""}  # type: ignore[arg-type]
        (idle,) = own._idle
        assert idle.alive
    assert not idle.alive
    assert own._idle == []
