"""Expected responses, computed without the service, and changes to the repository that it serves."""

import hashlib
import http.client
import io
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from benchmarks.serving_inputs import blurred_noise

PICTURES = 60
MODEL = "digits"
SECONDS_TO_BE_SEEN = 30.0
CHANGES = ("added", "overwritten", "damaged and repaired", "removed", "swapped by rename")


Contents = dict[int, set[str]]
"""Valid marks of a variant's labels, by version."""


@dataclass
class Expected:
    """Images and the expected responses to them.

    Attributes:
        pictures: PNG files.
        probabilities: [pictures, classes] by variant.
        contents: valid marks of the labels by (variant, version); several while a version is being overwritten.
    """

    pictures: list[bytes]
    probabilities: dict[str, NDArray[np.float64]]
    contents: dict[tuple[str, int], set[str]] = field(default_factory=dict)

    def contents_of(self, variant: str) -> Contents:
        """Return a copy of the valid marks of one variant's versions; thread-safe."""
        found = list(self.contents.items())
        return {version: set(marks) for (name, version), marks in found if name == variant}


def expected_answers(repository: Path) -> Expected:
    """Run every variant's graph in ONNX Runtime on one thread, and mark the labels of version 1 with content `0`."""
    files: list[bytes] = []
    found: dict[str, NDArray[np.float64]] = {}
    for artifact in sorted((repository / MODEL).glob("*/1")):
        manifest = _manifest(artifact)
        size = (manifest["input"]["width"], manifest["input"]["height"])
        if not files:
            pixels = [blurred_noise(np.random.default_rng(seed), size) for seed in range(PICTURES)]
            files = [_png(picture) for picture in pixels]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(artifact / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        logits = np.concatenate([session.run(["logits"], {"image": one[None]})[0] for one in pixels]).astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        found[artifact.parent.name] = exponentials / exponentials.sum(axis=1, keepdims=True)
    expected = Expected(files, found)
    for variant in found:
        mark(repository / MODEL / variant / "1", 1, "0")
        expected.contents[variant, 1] = {"0"}
    return expected


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _manifest(artifact: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((artifact / "manifest.json").read_text(encoding="utf-8"))
    return found


def mark(artifact: Path, version: int, content: str) -> None:
    """Set an artifact's version, and append version and content to its labels: `7 v2 c0`."""
    manifest = _manifest(artifact)
    labels = "".join(f"{index} v{version} c{content}\n" for index in range(manifest["output"]["classes"])).encode()
    manifest["version"] = version
    manifest["files"][manifest["labels"]] = {"sha256": hashlib.sha256(labels).hexdigest(), "size": len(labels)}
    for name, data in ((manifest["labels"], labels), ("manifest.json", json.dumps(manifest).encode())):
        temporary = artifact / f".{name}"
        temporary.write_bytes(data)
        temporary.replace(artifact / name)


class Changes:
    """Changes to the served repository, each followed by a wait until the service has reloaded it.

    Args:
        repository: the served repository.
        expected: expected responses, updated by each change.
        port: port of the service.
    """

    def __init__(self, repository: Path, expected: Expected, port: int) -> None:
        self.made: Counter[str] = Counter()
        self.unseen = 0
        self._root = repository / MODEL
        self._expected = expected
        self._port = port
        self._variants = sorted(expected.probabilities)
        self._content = 0

    def make(self, number: int) -> None:
        """Make the n-th change; kinds and variants alternate."""
        variant = self._variants[number // len(CHANGES) % len(self._variants)]
        kind = CHANGES[number % len(CHANGES)]
        getattr(self, "_" + kind.split()[0])(variant)
        self.made[kind] += 1

    def _added(self, variant: str) -> None:
        self._write(variant, 2)
        self._wait(lambda: (variant, 2) in self._served())

    def _overwritten(self, variant: str) -> None:
        self._content += 1
        self._expected.contents[variant, 2].add(str(self._content))
        mark(self._root / variant / "2", 2, str(self._content))
        self._wait(lambda: self._labels_end(variant, 2, f"c{self._content}"))
        self._expected.contents[variant, 2] = {str(self._content)}

    def _damaged(self, variant: str) -> None:
        """Add a version with a flipped byte, which must be refused, then repair it, after which it must be served."""
        graph = self._write(variant, 3, damaged=True)
        self._wait(lambda: f"{MODEL}/{variant}/3" in self._refused())
        _flip(graph)
        self._wait(lambda: (variant, 3) in self._served())
        shutil.rmtree(self._root / variant / "3")
        self._wait(lambda: (variant, 3) not in self._served())

    def _removed(self, variant: str) -> None:
        shutil.rmtree(self._root / variant / "2")
        self._wait(lambda: (variant, 2) not in self._served())

    def _swapped(self, variant: str) -> None:
        """Replace the directory of version 1 by two renames."""
        self._content += 1
        self._expected.contents[variant, 1].add(str(self._content))
        old, new = self._root / variant / "1", self._root / variant / ".new"
        shutil.copytree(old, new)
        mark(new, 1, str(self._content))
        old.rename(self._root / variant / ".old")
        new.rename(old)
        shutil.rmtree(self._root / variant / ".old")
        self._wait(lambda: self._labels_end(variant, 1, f"c{self._content}"))
        self._expected.contents[variant, 1] = {str(self._content)}

    def _write(self, variant: str, version: int, *, damaged: bool = False) -> Path:
        """Add a version as a copy of version 1, by rename; return the path of its graph."""
        self._content += 1
        self._expected.contents[variant, version] = {str(self._content)}
        temporary, place = self._root / variant / ".new", self._root / variant / str(version)
        shutil.copytree(self._root / variant / "1", temporary)
        mark(temporary, version, str(self._content))
        if damaged:
            _flip(temporary / "model.onnx")
        temporary.rename(place)
        return place / "model.onnx"

    def _wait(self, happened: Callable[[], bool]) -> None:
        last = time.monotonic() + SECONDS_TO_BE_SEEN
        while not happened():
            if time.monotonic() > last:
                self.unseen += 1
                return
            time.sleep(0.05)

    def _served(self) -> set[tuple[str, int]]:
        models = self._get("/v1/models")["models"]
        return {
            (variant["variant"], version)
            for model in models
            for variant in model["variants"]
            for version in variant["versions"]
        }

    def _refused(self) -> set[str]:
        return {refused["name"] for refused in self._get("/v1/models")["refused"]}

    def _labels_end(self, variant: str, version: int, end: str) -> bool:
        facts = self._get(f"/v1/models/{MODEL}/variants/{variant}")
        return any(one["version"] == version and one["labels"][0].endswith(end) for one in facts.get("versions", ()))

    def _get(self, target: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS_TO_BE_SEEN)
        try:
            connection.request("GET", target)
            found: dict[str, Any] = json.load(connection.getresponse())
        finally:
            connection.close()
        return found


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    temporary = file.with_name(".flipped")
    temporary.write_bytes(data)
    temporary.replace(file)
