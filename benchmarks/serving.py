"""`python -m benchmarks.serving`: this service beside a plain FastAPI one, on the same network, images and cores.

Every contender is a server process, loaded by wrk (Debian's package) from another process on the same machine. Runs
take turns, for the machine's speed drifts; figures are medians over the rounds, ratios are of medians. CPU time is the
server's and an answer's: it says what a request costs also where other programs have the cores. The limit is the same
stages in a loop, in as many processes as there are cores, without any HTTP. The network is a ViT of DeiT-Ti's width
with one block, random weights; the images are JPEGs of 500 by 375 pixels.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from artifact import read_artifact
from examples.digits.train import machine
from service.backends.onnx_runtime import OnnxRuntimeBackend
from service.inputs.images import decode
from service.inputs.preprocess import preprocess
from service.ranking import rank
from service.scheduling.cores import available_cores

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = (1, 8, 32, 128)
IMAGES = 8
NETWORK = {
    "preprocess": {
        "resize": 248,
        "crop": [224, 224],
        "interpolation": "bicubic",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
    "network": {
        "architecture": "vit",
        "image_size": [224, 224],
        "patch_size": 16,
        "num_classes": 1000,
        "width": 192,
        "depth": 1,
        "num_heads": 3,
        "pool": "cls",
        "encodings": {"learned": {}},
    },
}


@dataclass(frozen=True)
class Contender:
    """A server: how to start it on a port, and where it answers."""

    name: str
    command: Callable[[int], Sequence[str]]
    path: str
    environment: dict[str, str]


@dataclass(frozen=True)
class Measured:
    """One run of wrk."""

    good_per_second: float
    p50: float
    p99: float
    cpu: float
    """ms an answer"""
    refused: int
    broken: int


def main() -> int:
    """Print one row for each number of clients and contender."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of load in each run, default: 5")
    parser.add_argument("--clients", type=int, nargs="*", default=CLIENTS)
    parser.add_argument("--port", type=int, default=8770, help="of the first contender; the others follow")
    parser.add_argument("--loop", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop is not None:
        print(loop(options.loop, options.images, options.seconds))
        return 0
    if shutil.which("wrk") is None:
        parser.error("wrk is missing; install it: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        make_images(folder)
        repository = export(folder)
        contenders = contenders_of(repository)
        started = [
            stack.enter_context(running(contender, options.port + place, folder))
            for place, contender in enumerate(contenders)
        ]
        runs: dict[tuple[int, str], list[Measured]] = {}
        limits = []
        for _ in range(options.rounds):
            limits.append(limit(repository / "small/uint8/1", folder, options.seconds))
            for clients in options.clients:
                for place, contender in enumerate(contenders):
                    url = f"http://127.0.0.1:{options.port + place}{contender.path}"
                    measured = load(url, clients, options.seconds, folder, started[place])
                    runs.setdefault((clients, contender.name), []).append(measured)
    report(runs, limits, options)
    return 0


def report(runs: dict[tuple[int, str], list[Measured]], limits: list[float], options: argparse.Namespace) -> None:
    """Print medians, and ratios to the last contender."""
    limit_ = statistics.median(limits)
    print(f"{datetime.now(UTC).date()}, {machine()}, {options.rounds} rounds of {options.seconds} s\n")
    print(f"In-process limit: {limit_:.0f} images/s\n")
    print("| clients | server | answers/s | of the limit | p50, ms | p99, ms | CPU, ms | refused | broken", end="")
    print(" | answers/s, × | p50, × |")
    print(f"| ---: | --- |{' ---: |' * 9}")
    names = list(dict.fromkeys(name for _, name in runs))
    for clients in options.clients:
        base = runs[clients, names[-1]]
        for name in names:
            found = runs[clients, name]
            rate, p50, p99, cpu = (statistics.median(getattr(run, what) for run in found) for what in MEDIANS)
            to_rate, to_p50 = (statistics.median(getattr(run, what) for run in base) for what in MEDIANS[:2])
            refused, broken = sum(run.refused for run in found), sum(run.broken for run in found)
            print(
                f"| {clients} | {name} | {rate:.0f} | {rate / limit_:.2f} | {p50:.1f} | {p99:.1f} | {cpu:.1f} "
                f"| {refused} | {broken} | {rate / to_rate:.2f} | {p50 / to_p50:.2f} |"
            )


MEDIANS = ("good_per_second", "p50", "p99", "cpu")


def contenders_of(repository: Path) -> list[Contender]:
    """Return every server; ratios are to the last."""
    service = [sys.executable, "-m", "service", "--repository", str(repository)]
    plain = [sys.executable, "-m", "uvicorn", "benchmarks.plain_fastapi:app"]
    return [
        Contender("posbake", lambda port: [*service, "--port", str(port)], "/v1/classify?variant=uint8", {}),
        Contender(
            "FastAPI + thread pool",
            lambda port: [*plain, "--port", str(port)],
            "/classify",
            {"POSBAKE_PLAIN_ARTIFACT": str(repository / "small/float32/1")},
        ),
    ]


@contextmanager
def running(contender: Contender, port: int, folder: Path) -> Iterator[int]:
    """Yield the id of a process: run a server until the block ends; it has answered once when the block begins."""
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            contender.command(port), stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **contender.environment}
        )
    try:
        ask_until_answered(f"http://127.0.0.1:{port}{contender.path}", (folder / "0.jpg").read_bytes(), process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def ask_until_answered(url: str, image: bytes, process: subprocess.Popen[bytes]) -> None:
    """Return after the first answer. Raises RuntimeError if there is none within a minute."""
    request = urllib.request.Request(url, image, {"Content-Type": "image/jpeg"})  # noqa: S310
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer")


def load(url: str, clients: int, seconds: int, folder: Path, process: int) -> Measured:
    """Return what wrk measures with so many connections, each of which waits for an answer before it asks again."""
    script = str(ROOT / "benchmarks" / "load.lua")
    wrk = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", script, url]
    before = cpu_seconds(process)
    done = subprocess.run(  # noqa: S603
        [*wrk, "--", str(folder), str(IMAGES)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    good = found["requests"] - found["refused"]
    cpu = 1000 * (cpu_seconds(process) - before) / max(good, 1)
    return Measured(good / found["seconds"], found["p50"], found["p99"], cpu, found["refused"], found["broken"])


def cpu_seconds(process: int) -> float:
    """Return what a process and those it started have used of the CPU (proc_pid_stat(5), fields 4, 14 and 15)."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended since
            continue
        found[int(stat.parent.name)] = (int(fields[1]), int(fields[11]) + int(fields[12]))
    family = {process}
    while more := {child for child, (parent, _) in found.items() if parent in family} - family:
        family |= more
    return sum(found[one][1] for one in family) / os.sysconf("SC_CLK_TCK")


def limit(artifact: Path, folder: Path, seconds: int) -> float:
    """Return images a second of the bare stages, in one process a core."""
    command = [sys.executable, "-m", "benchmarks.serving", "--loop", str(artifact), "--images", str(folder)]
    processes = [
        subprocess.Popen([*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True, cwd=ROOT)  # noqa: S603
        for _ in range(available_cores())
    ]
    return sum(float(process.communicate()[0]) for process in processes)


def loop(artifact_path: Path, folder: Path, seconds: int) -> float:
    """Decode, resize, run and rank for so long, one image after the other on one thread; return images a second."""
    artifact = read_artifact(artifact_path)
    backend = OnnxRuntimeBackend(artifact, "cpu", 1)
    images = [(folder / f"{place}.jpg").read_bytes() for place in range(IMAGES)]
    count = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        image = decode(images[count % IMAGES], 50_000_000)
        rank(backend.run(preprocess(image, artifact.manifest, 50_000_000))[0], artifact.labels, 5)
        count += 1
    return count / (time.perf_counter() - start)


def make_images(folder: Path) -> None:
    """Write 0.jpg, 1.jpg, …: blurred noise with some grain, which compresses about as photographs do."""
    rng = np.random.default_rng(0)
    for place in range(IMAGES):
        blobs = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        grain = rng.integers(-12, 13, (375, 500, 1))
        pixels = np.asarray(blobs.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.int64) + grain
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{place}.jpg", quality=80)


def export(folder: Path) -> Path:
    """Return a repository with the network twice, by what it takes: variants `uint8` and `float32`."""
    config = folder / "small.json"
    config.write_text(json.dumps(NETWORK), encoding="utf-8")
    repository = folder / "repository"
    for kind in ("uint8", "float32"):
        command = [sys.executable, "export/to_onnx.py", f"posbake:{config}", "--random-weights", "0", "--quiet"]
        names = ["--model", "small", "--variant", kind, "--input", kind, "--version", "1", "--output", str(repository)]
        subprocess.run([*command, *names], check=True, cwd=ROOT)  # noqa: S603
    return repository


if __name__ == "__main__":
    sys.exit(main())
