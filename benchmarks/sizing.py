"""`python -m benchmarks.sizing`: memory and CPU time of the service by network, precision, backend and threads.

Each configuration is a separate service with one network; that of the digits model has all its variants. The images are
JPEGs of 500×375 pixels, from seven more clients than threads. Weights are random, because neither memory nor time
depends on them.
"""

import argparse
import http.client
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from artifact import Precision
from benchmarks.precision import write_pictures
from benchmarks.service_process import served
from benchmarks.serving_inputs import IMAGES, ROOT, make_images
from benchmarks.serving_processes import cpu_seconds
from examples.digits.train import machine

MIB = 2**20
DIGITS = "digits"
NETWORKS = (
    "vit_small_patch16_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "vit_base_patch16_224",
)


@dataclass(frozen=True)
class Way:
    """Precision and backend of a configuration, and the flags of its service."""

    artifact: Precision
    backend: str
    flags: tuple[str, ...] = ()
    running: str = "fp32"


WAYS = (
    Way("fp32", "onnxruntime"),
    Way("int8", "onnxruntime", running="int8"),
    Way("fp32", "openvino"),
    Way("fp32", "openvino", ("--cpu-precision", "bf16"), "bf16"),
    Way("int8", "openvino", running="int8, the rest bf16"),
)


@dataclass(frozen=True)
class Size:
    """Resident memory in bytes, and CPU ms per image."""

    ready: int
    most: int
    cpu: float

    def cells(self) -> str:
        """Return the last four cells of a row."""
        memory = f"{self.ready / MIB:.0f} | {self.most / MIB:.0f}"
        return f"{memory} | {self.cpu:.1f} | {1000 / self.cpu:.1f}"


def main() -> int:
    """Export missing artifacts, and print a row for each network and configuration."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description=__doc__)
    parser.add_argument("networks", nargs="*", default=(*NETWORKS, DIGITS), help="timm names, or digits")
    parser.add_argument("--artifacts", type=Path, help="folder of exports, reused by later runs; default: not kept")
    parser.add_argument("--digits", type=Path, default=ROOT / "artifacts" / "digits", help="default: artifacts/digits")
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2), help="default: 1 2")
    parser.add_argument(
        "--images", type=int, default=200, help="number of images, after 16 warm-up images; default: 200"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder)
        write_pictures(folder / "pictures")
        print(f"{datetime.now(UTC).date()}, {machine()}, {options.images} images\n")
        print(
            "| network | runs in | backend | threads | ready, MiB | peak, MiB | CPU ms per image | images/s per core |"
        )
        print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for network in options.networks:
            for way in WAYS:
                if network == DIGITS and way.artifact != "fp32":
                    continue  # the demo has no int8
                artifacts = options.artifacts or folder / "artifacts"
                source = options.digits if network == DIGITS else exported(network, way.artifact, artifacts, folder)
                for threads in options.threads:
                    size = measure(source, way, threads, folder, options.images)
                    print(f"| {network} | {way.running} | {way.backend} | {threads} | {size.cells()} |", flush=True)
    return 0


def exported(network: str, precision: Precision, artifacts: Path, folder: Path) -> Path:
    """Return the directory of a model whose only variant is the network in this precision."""
    version = artifacts / network / precision / "1"
    if not version.exists():
        command = [sys.executable, "export/to_onnx.py", f"timm:{network}", "--random-weights", "0", "--quiet"]
        names = ["--model", network, "--variant", precision, "--version", "1", "--output", str(artifacts)]
        more = ["--precision", precision]
        if precision != "fp32":  # the limits are for trained weights
            more += ["--calibration", str(folder / "pictures"), "--min-cosine", "0", "--min-agreement", "0"]
        subprocess.run([*command, *names, *more], check=True, cwd=ROOT)  # noqa: S603
    return version.parent


def measure(source: Path, way: Way, threads: int, folder: Path, images: int) -> Size:
    """Return the size of a service with one model or one variant."""
    repository = folder / "repository"
    place = repository / source.relative_to(source.parents[source.name != DIGITS])
    shutil.copytree(source, place)
    flags = ("--backend", way.backend, "--threads", str(threads), *way.flags)
    try:
        with served(repository, folder / "log", *flags) as service:
            ready = service.resident
            send(service.port, folder, threads + 7, 16)
            before = cpu_seconds(service.process.pid)
            send(service.port, folder, threads + 7, images)
            cpu = 1000 * (cpu_seconds(service.process.pid) - before) / images
            status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
            most = re.search(r"VmHWM:\s+(\d+) kB", status)
            size = Size(ready, 1024 * int(most[1]) if most else service.resident, cpu)
            service.stop(signal.SIGTERM)
    finally:
        shutil.rmtree(repository)
    return size


def send(port: int, folder: Path, clients: int, images: int) -> None:
    """Classify images, `clients` at a time.

    Raises:
        RuntimeError: a response has another status than 200.
    """
    bodies = [(folder / f"{place}.jpg").read_bytes() for place in range(IMAGES)]

    def post(number: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=300)) as connection:
            connection.request(
                "POST", "/v1/classify?timeout_ms=120000", bodies[number % IMAGES], {"Content-Type": "image/jpeg"}
            )
            answer = connection.getresponse()
            body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"response with status {answer.status}: {body[:200].decode()}")

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(post, range(images)))


if __name__ == "__main__":
    sys.exit(main())
