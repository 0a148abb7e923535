"""Which work counts as which stage, by a clock that only moves when it is told to."""

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifact import read_artifact
from service.catalogue import Servable
from service.classifying import classify_body
from service.inputs.preprocess import Tensor
from service.telemetry.stopwatch import STAGES, Stopwatch
from tests.service.artifacts import add_artifact
from tests.service.counting import CountingBackend
from tests.service.pictures import encode, random_pixels

PNG = encode(random_pixels())


class Clock:
    nanoseconds = 0

    def __call__(self) -> int:
        return self.nanoseconds

    def pass_(self, milliseconds: int) -> None:
        self.nanoseconds += milliseconds * 1_000_000


class SlowBackend(CountingBackend):
    clock: Clock

    def run(self, images: Tensor) -> NDArray[np.float32]:
        self.clock.pass_(7)
        return super().run(images)


def test_waiting_is_queue_unpacking_is_decode_and_running_is_inference(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    artifact = read_artifact(tmp_path / "colours/mean/1")
    backend = SlowBackend(artifact, "abacus", 1)
    clock = backend.clock = Clock()

    def extract(body: bytes) -> bytes:
        clock.pass_(5)
        return body

    watch = Stopwatch(clock)
    clock.pass_(3)
    classify_body(Servable(artifact, backend), PNG, extract, 1, 1000, watch)
    assert watch.laps() == {
        "decode": 5000,
        "preprocess": 0,
        "queue": 3000,
        "inference": 7000,
        "postprocess": 0,
        "total": 15_000,
    }


def test_every_stage_ends_with_a_lap_of_its_own(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    artifact = read_artifact(tmp_path / "colours/mean/1")
    ticking = itertools.count(step=1_000_000)  # 1 ms at every reading
    watch = Stopwatch(lambda: next(ticking))
    servable = Servable(artifact, CountingBackend(artifact, "abacus", 1))
    classify_body(servable, PNG, bytes, 1, 1000, watch)
    assert watch.laps() == {**dict.fromkeys(STAGES, 1000), "total": 5000}
