"""`python -m benchmarks.loading ARTIFACT`: CPU time to load an artifact, share of the golden check, and memory.

Each load runs in a new process with two threads, as in the service; the child process that first opens an artifact
for OpenVINO is listed separately. Loads with and without a golden file are interleaved, on both backends.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from examples.digits.train import machine

BACKENDS = ("onnxruntime", "openvino")
_LOAD = """
import json, resource, sys, time
from pathlib import Path
from artifact import Location
from service.catalogue.loading import Loader
from service.settings import Settings

loader = Loader(Settings(backend=sys.argv[1], threads=2))
path = Path(sys.argv[2])
start, children = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
servable = loader.open(Location(*path.parts[-3:], path))
ended = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({
    "here": time.process_time() - start,
    "child": ended.ru_utime + ended.ru_stime - children.ru_utime - children.ru_stime,
    "memory": int(Path("/proc/self/statm").read_text().split()[1]) / 256,
}))
servable.backend.close()
"""
"""Load an artifact, and print CPU time in seconds and resident memory in MiB."""


def main() -> int:
    """Print a row for each backend."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__)
    parser.add_argument("artifact", type=Path, help="directory with a manifest.json, and a golden file")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    path: Path = options.artifact.resolve()
    with tempfile.TemporaryDirectory() as name:
        unchecked = without_golden_file(path, Path(name))
        found: dict[tuple[str, Path], list[dict[str, float]]] = {
            (backend, each): [] for backend in BACKENDS for each in (path, unchecked)
        }
        for _ in range(options.rounds):
            for (backend, each), loads in found.items():
                loads.append(load(backend, each))
    print(f"{datetime.now(UTC).date()}, {machine()}, {'/'.join(path.parts[-3:])}, medians of {options.rounds} rounds\n")
    print("| backend | with the golden check, s | with runs on zeros, s | check / load | child, s | resident, MiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for backend in BACKENDS:
        checked, other = (
            {
                name: statistics.median(load[name] for load in found[backend, each])
                for name in ("here", "child", "memory")
            }
            for each in (path, unchecked)
        )
        share = (checked["here"] - other["here"]) / other["here"]
        print(
            f"| {backend} | {checked['here']:.2f} | {other['here']:.2f} | {share:.1%} | {checked['child']:.2f} | "
            f"{checked['memory']:.0f} |"
        )
    return 0


def without_golden_file(path: Path, folder: Path) -> Path:
    """Return a copy of an artifact without golden file; the service then runs it on zero images at load."""
    copy = folder.joinpath(*path.parts[-3:])
    shutil.copytree(path, copy)
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    file = manifest.pop("golden")["file"]
    del manifest["files"][file]
    (copy / file).unlink()
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return copy


def load(backend: str, path: Path) -> dict[str, float]:
    """Load in a new process and return its figures."""
    command = [sys.executable, "-c", _LOAD, backend, str(path)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)  # noqa: S603
    return found


if __name__ == "__main__":
    sys.exit(main())
