"""`python -m benchmarks.ray_serve`: two replicas on a local Ray cluster compared with the service without Ray.

Requires `ray[serve]` and the extra `service`. One replica is killed under load; every response is compared with the
service's, for all digits variants and ten images. Then wrk measures both, interleaved.
"""

import argparse
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import ray
from ray import serve

from benchmarks.service_process import served
from benchmarks.serving_inputs import ROOT
from deploy.ray.app import app

RAY_PORT = 18778
_TIMEOUT = 60


def main() -> int:
    """Print the counts of responses and a table; return 1 if a response was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_serve", description=__doc__)
    parser.add_argument(
        "--repository",
        type=Path,
        default=ROOT / "artifacts",
        help="repository with the digits model; default: artifacts",
    )
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=20, help="length of the load during which a replica is killed")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of wrk; 0 for none")
    parser.add_argument("--plain-proxy", action="store_true", help="Ray's proxy without deploy/ray/proxy.py")
    options = parser.parse_args()
    repository = options.repository.resolve()
    images = [path.read_bytes() for path in sorted((ROOT / "examples" / "digits" / "samples").glob("*.png"))]
    variants = sorted(path.name for path in (repository / "digits").iterdir())
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log"
        with served(repository, log, "--backend", "onnxruntime", "--threads", "1") as bare:
            expected = {
                (variant, place): _ask(bare.port, variant, image)[1]
                for variant in variants
                for place, image in enumerate(images)
            }
            with _ray(repository, options.plain_proxy):
                counts = _under_load(expected, images, options.clients, options.seconds)
                rejected = _beyond_limits(images[0])
                rows = _compared(bare.port, Path(name), images, options.rounds)
    print(f"{datetime.now(UTC).date()}, {os.cpu_count()} cores, Ray {ray.__version__}, 2 replicas of 1 thread\n")
    print(f"{options.clients} clients, {len(variants)} variants, one replica killed: " + _listed(counts))
    print("deadline of 1 ms, body that is not an image: " + _listed(rejected) + "\n")
    if rows:
        print("| clients | service, requests/s | Ray, requests/s | ratio | service p50, ms | Ray p50, ms |")
        print("| ---: | ---: | ---: | ---: | ---: | ---: |")
        print("\n".join(rows))
    return int(counts["wrong"] > 0)


@contextmanager
def _ray(repository: Path, plain_proxy: bool) -> Iterator[None]:
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", PYTHONPATH=str(ROOT))
    if not plain_proxy:
        os.environ["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"] = "deploy.ray.proxy:middlewares"
    ray.init(num_cpus=4, include_dashboard=False, object_store_memory=200_000_000, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": RAY_PORT})
    arguments = {"repository": str(repository), "threads": 1, "backend": "onnxruntime"}
    application = app(arguments)
    serve.run(application)
    try:
        end = time.monotonic() + _TIMEOUT
        while len(_replicas()) < 2 and time.monotonic() < end:
            time.sleep(0.5)
        yield
    finally:
        serve.shutdown()
        ray.shutdown()


def _replicas() -> list[int]:
    """Return the replicas' process ids, found by the process title that Ray sets."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # the process has ended
            if cmdline.read_text().startswith("ray::ServeReplica:"):
                found.append(int(cmdline.parent.name))
    return found


def _under_load(expected: dict[tuple[str, int], str], images: list[bytes], clients: int, seconds: int) -> Counter[str]:
    """Return the number of responses that were right, wrong, refused (by status) or missing."""
    counts: Counter[str] = Counter()
    lock, stop = threading.Lock(), threading.Event()

    def send(seed: int) -> None:
        chosen = random.Random(seed)  # noqa: S311
        while not stop.is_set():
            variant, place = chosen.choice(list(expected))
            try:
                status, label = _ask(RAY_PORT, variant, images[place])
            except OSError as error:
                outcome = f"lost: {type(error).__name__}"
            else:
                right = label == expected[variant, place]
                outcome = ("right" if right else "wrong") if status == 200 else f"status {status}"
            with lock:
                counts[outcome] += 1

    threads = [threading.Thread(target=send, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    before = counts.copy()
    os.kill(_replicas()[0], 9)
    time.sleep(seconds / 2)
    stop.set()
    for thread in threads:
        thread.join()
    if before["right"] == sum(before.values()):
        counts["before the kill, all right"] = before["right"]
    return counts


def _beyond_limits(image: bytes) -> Counter[str]:
    return Counter(
        [
            f"status {_ask(RAY_PORT, 'rope', image, '&timeout_ms=1')[0]}",
            f"status {_ask(RAY_PORT, 'rope', b'no image')[0]}",
        ]
    )


def _compared(port: int, folder: Path, images: list[bytes], rounds: int) -> list[str]:
    for place, image in enumerate(images):
        (folder / str(place)).write_bytes(image)
    rows = []
    for clients in (1, 32, 200) if rounds else ():
        found: dict[int, list[dict[str, float]]] = {port: [], RAY_PORT: []}
        for turn in range(rounds):
            for one in sorted(found, reverse=bool(turn % 2)):
                found[one].append(_wrk(one, folder, len(images), clients))
        bare, beside = ([result["rate"] for result in found[one]] for one in (port, RAY_PORT))
        p50 = [median(result["p50"] for result in found[one]) for one in (port, RAY_PORT)]
        ratio = median(beside) / median(bare)
        rows.append(
            f"| {clients} | {median(bare):.0f} | {median(beside):.0f} | {ratio:.2f} | {p50[0]:.1f} | {p50[1]:.1f} |"
        )
    return rows


def _wrk(port: int, folder: Path, images: int, clients: int) -> dict[str, float]:
    wrk = ["wrk", "-t1", f"-c{clients}", "-d4s", "--timeout", "30s", "-s", str(ROOT / "benchmarks" / "load.lua")]
    url = f"http://127.0.0.1:{port}/v1/classify?variant=rope"
    done = subprocess.run(  # noqa: S603
        [*wrk, url, "--", str(folder), str(images), "image/png"], stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {"rate": (found["requests"] - found["refused"]) / found["seconds"], "p50": found["p50"]}


def _ask(port: int, variant: str, image: bytes, more: str = "") -> tuple[int, str]:
    """Return the status and the first label, or an empty label if there is none."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)) as connection:
        connection.request("POST", f"/v1/classify?variant={variant}{more}", image, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        body = answer.read()
    return answer.status, json.loads(body)["predictions"][0]["label"] if answer.status == 200 else ""


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())


if __name__ == "__main__":
    sys.exit(main())
