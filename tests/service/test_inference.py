"""Stage times of the use case, with a clock controlled by the test."""

from pathlib import Path

import numpy as np

from artifact import read_artifact
from imaging.pillow_resizing import resize_and_crop
from imaging.preprocess import Reading
from service.backends.restartable import Restartable
from service.catalogue.catalogue import Servable
from service.inference import prepare
from service.telemetry.stopwatch import Stopwatch
from tests.service.artifacts import add_artifact
from tests.service.counting import CountingBackend
from tests.service.pictures import encode, random_pixels

PIXELS = random_pixels()


class Clock:
    nanoseconds = 0

    def __call__(self) -> int:
        self.nanoseconds += 1_000_000  # 1 ms for each call
        return self.nanoseconds

    def advance(self, milliseconds: int) -> None:
        self.nanoseconds += milliseconds * 1_000_000


def test_unpacking_counts_as_decode_and_earlier_time_as_no_stage(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    artifact = read_artifact(tmp_path / "colours/mean/1")
    servable = Servable(artifact, Restartable(lambda: CountingBackend(artifact, "abacus", 1)))
    clock = Clock()

    def extract(body: bytes) -> bytes:
        clock.advance(5)
        return body

    watch = Stopwatch(clock)
    tensor = prepare(servable, encode(PIXELS), extract, Reading(1000, resize_and_crop), watch)
    np.testing.assert_array_equal(tensor, PIXELS[None])
    stages = {"decode": 6000, "preprocess": 1000, "queue": 0, "inference": 0, "postprocess": 0}
    assert watch.laps() == {**stages, "total": 7000}
