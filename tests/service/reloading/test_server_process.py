"""Hot reload of a server process under load."""

import itertools
import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from artifact.hashing import describe_file
from tests.service.artifacts import add_artifact, expected_probabilities
from tests.service.catalogue.test_loading import replace_graph
from tests.service.pictures import encode, random_pixels
from tests.service.process import Running, serving
from tests.service.reloading.repositories import damage, exchange, replace_artifact, weights_of
from tests.service.transport.sockets import connect
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow

PIXELS = random_pixels()
BODY = encode(PIXELS)
VERSIONS = 4
EXPECTED = [expected_probabilities(PIXELS, weights_of(version)) for version in range(VERSIONS + 1)]


@contextmanager
def server_of(repository: Path, folder: Path, *flags: str) -> Iterator[Running]:
    folder.mkdir(exist_ok=True)
    given = ("--port", "0", "--repository", str(repository), "--threads", "2", "--reload-seconds", "0.1", *flags)
    with serving(folder, *given) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


def infer(server: Running, query: str = "") -> httpx2.Response:
    return httpx2.post(f"{server.url}/v1/classify?{query}", content=BODY, timeout=30)


def versions(server: Running) -> list[int]:
    """Return the served versions of the only variant, oldest first."""
    (variant,) = httpx2.get(f"{server.url}/v1/models/colours").json()["variants"]
    found: list[int] = variant["versions"]
    return found


def probabilities(answer: httpx2.Response) -> list[float]:
    found = sorted(answer.json()["predictions"], key=lambda prediction: int(prediction["index"]))
    return [prediction["probability"] for prediction in found]


def version_of(answer: httpx2.Response) -> int:
    """Return the version that computed the response, from its probabilities."""
    found = probabilities(answer)
    fitting = [version for version, expected in enumerate(EXPECTED) if np.allclose(found, expected, rtol=1e-4)]
    assert len(fitting) == 1
    return fitting[0]


def test_the_versions_can_be_distinguished_by_their_probabilities() -> None:
    for one, other in itertools.combinations(EXPECTED, 2):
        assert not np.allclose(one, other, rtol=1e-2)


def test_reloads_under_load_lose_no_request_and_never_mix_versions(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    add_artifact(repository, weights=weights_of(1))
    over = threading.Event()

    def post_until_over(client: httpx2.Client) -> list[httpx2.Response]:
        answers = []
        while not over.is_set():
            answers.append(client.post("/v1/classify", content=BODY))
        return answers

    with (
        # On a CPU, images run as soon as they are decoded; the delay makes batches, which could mix versions.
        server_of(repository, tmp_path / "server", "--batch-delay-ms", "10") as server,
        httpx2.Client(base_url=server.url, timeout=30) as client,
        ThreadPoolExecutor(12) as pool,
    ):
        clients = [pool.submit(post_until_over, client) for _ in range(12)]
        for version in range(2, VERSIONS + 1):
            add_artifact(repository, version=version, weights=weights_of(version))
            wait_until(lambda new=version: versions(server)[-1] == new)  # type: ignore[misc]
            shutil.rmtree(repository / "colours/mean" / str(version - 1))
            wait_until(lambda new=version: versions(server) == [new])  # type: ignore[misc]
        over.set()
        answers = [answer for client_answers in clients for answer in client_answers.result()]
        wait_until(lambda: server.log.read_text().count("closed the replaced version of artifact") == VERSIONS - 1)
    assert {answer.status_code for answer in answers} == {200}
    assert all(version_of(answer) == answer.json()["version"] for answer in answers)
    assert {answer.json()["version"] for answer in answers} == set(range(1, VERSIONS + 1))
    assert max(answer.json()["batch_size"] for answer in answers) > 1  # otherwise no batch could mix versions


def test_new_content_of_the_same_version_is_served(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    add_artifact(repository, weights=weights_of(1))
    with server_of(repository, tmp_path / "server") as server:
        assert version_of(infer(server)) == 1
        replace_artifact(repository, content=2)
        found = [version_of(infer(server))]
        wait_until(lambda: found.append(version_of(infer(server))) or found[-1] == 2)  # type: ignore[func-returns-value]
        assert found == sorted(found)
        assert {1, 2} >= set(found)


def test_the_newest_version_is_the_default_and_others_can_be_requested(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    add_artifact(repository, version=1, weights=weights_of(1))
    add_artifact(repository, version=3, weights=weights_of(3))
    with server_of(repository, tmp_path / "server") as server:
        assert version_of(infer(server)) == 3
        add_artifact(repository, version=2, weights=weights_of(2))
        wait_until(lambda: versions(server) == [1, 2, 3])
        for query, version in (("", 3), ("version=1", 1), ("version=2", 2), ("version=3", 3)):
            assert version_of(infer(server, query)) == version
        assert infer(server, "version=4").json()["known"] == [1, 2, 3]


def test_a_damaged_new_version_is_refused_and_the_old_one_is_served(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    add_artifact(repository, weights=weights_of(1))
    add_artifact(tmp_path / "elsewhere", version=2, weights=weights_of(2))
    new = tmp_path / "elsewhere/colours/mean/2"
    whole = damage(new)

    def refused() -> list[dict[str, str]]:
        found: list[dict[str, str]] = httpx2.get(f"{server.url}/v1/models").json()["refused"]
        return found

    with server_of(repository, tmp_path / "server") as server:
        new.rename(repository / "colours/mean/2")
        wait_until(lambda: refused() != [])
        (found,) = refused()
        assert found["name"] == "colours/mean/2"
        assert found["reason"].startswith("colours/mean/2: model.onnx is not the file the manifest describes")
        assert str(tmp_path) not in found["reason"]
        assert version_of(infer(server)) == 1
        assert httpx2.get(f"{server.url}/health/ready").status_code == 200
        (repository / "colours/mean/2/model.onnx").write_bytes(whole)
        wait_until(lambda: version_of(infer(server)) == 2)
        assert refused() == []
    assert server.log.read_text().count("refused artifact colours/mean/2") == 1


def test_a_request_whose_body_is_incomplete_is_served_by_a_removed_version(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    for version in (1, 2):
        add_artifact(repository, version=version, weights=weights_of(version))
    with server_of(repository, tmp_path / "server") as server:
        with connect(server) as slow:
            slow.sendall(b"POST /v1/classify?version=2 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(BODY))
            slow.sendall(b"Connection: close\r\n\r\n" + BODY[:20])
            assert infer(server, "version=2").status_code == 200  # so the server has read the head of the slow request
            shutil.rmtree(repository / "colours/mean/2")
            wait_until(lambda: versions(server) == [1])
            assert infer(server, "version=2").status_code == 404
            assert version_of(infer(server)) == 1
            time.sleep(0.3)  # time to close versions that are not in use
            assert "closed the replaced version" not in server.log.read_text()
            slow.sendall(BODY[20:])
            parts = iter(lambda: slow.recv(65536), b"")
            answer = b"".join(parts)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"version":2' in answer
        wait_until(lambda: "closed the replaced version of artifact colours/mean/2" in server.log.read_text())


@dataclass(frozen=True)
class HeavyArtifacts:
    """Artifacts with large weights."""

    repository: Path
    megabytes: int

    def put(self, version: int, content: int) -> None:
        """Write a version, replacing an existing one."""
        staging = self.repository / ".staging"
        manifest = add_artifact(staging, version=version)
        path = staging / "colours/mean" / str(version)
        graph = onnx.load(path / "model.onnx")
        width = self.megabytes * 2**20 // (2 * 4 * 4)  # two matrices of 4 by `width` float32
        self._widen(graph, np.random.default_rng(content).normal(size=(4, width)).astype(np.float32))
        replace_graph(path, manifest, graph.SerializeToString())
        assert describe_file(path / "model.onnx").size > self.megabytes * 2**20
        target = self.repository / "colours/mean" / str(version)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            exchange(path, target)
        else:
            path.rename(target)
        shutil.rmtree(staging)

    @staticmethod
    def _widen(graph: onnx.ModelProto, wide: NDArray[np.float32]) -> None:
        graph.graph.node[-1].output[0] = "narrow"
        graph.graph.node.extend(
            [
                helper.make_node("MatMul", ["narrow", "wide"], ["hidden"]),
                helper.make_node("MatMul", ["hidden", "back"], ["logits"]),
            ]
        )
        constants = [numpy_helper.from_array(wide, "wide"), numpy_helper.from_array(wide.T / wide.shape[1], "back")]
        graph.graph.initializer.extend(constants)


def megabytes_of(server: Running) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_the_memory_of_replaced_versions_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")  # glibc then returns freed large blocks to the system
    heavy = HeavyArtifacts(tmp_path / "repository", megabytes=16)
    heavy.put(1, content=0)

    def closed() -> int:
        return server.log.read_text().count("closed the replaced version of artifact")

    def replace(times: int) -> float:
        for _ in range(times):
            before = closed()
            heavy.put(1, content=next(contents))
            wait_until(lambda old=before: closed() > old)  # type: ignore[misc]
            assert infer(server).status_code == 200
        return megabytes_of(server)

    contents = itertools.count(1)
    with server_of(heavy.repository, tmp_path / "server", "--max-batch", "1") as server:
        early = replace(2)
        replace(4)
        # Four leaked versions would be 128 MiB more, since each has two sessions.
        wait_until(lambda: megabytes_of(server) - early < 2 * heavy.megabytes)
        late = megabytes_of(server)
        for version in (2, 3):
            heavy.put(version, content=next(contents))
        wait_until(lambda: versions(server) == [1, 2, 3])
        assert megabytes_of(server) - late > heavy.megabytes  # memory that is not released can be detected
