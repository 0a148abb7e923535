"""Number of processes, and the settings of each."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.backends import on_cores
from service.offline import opening
from service.offline.__main__ import main
from service.offline.files import ImageFile
from service.offline.opening import FEW, default_processes, fitting
from service.offline.processes import shares
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.offline.servables import location_of

pytestmark = pytest.mark.slow


def test_threads_and_memory_are_divided_among_processes(colours: Path) -> None:
    given = Settings(repository=colours, threads=7, max_held_bytes=1000)
    assert [(one.threads, one.max_held_bytes) for one in shares(given, 3)] == [(3, 1000), (2, 1000), (2, 1000)]
    unset = Settings(repository=colours)
    assert [one.max_held_bytes for one in shares(unset, 2)] == [unset.max_held_bytes // 2] * 2


def test_as_many_processes_are_used_as_fit_into_memory(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    location, gib = location_of(tmp_path), 2**30
    (location.path / "weights.bin").write_bytes(b"")
    os.truncate(location.path / "weights.bin", 192 * 2**20)  # with 256 MiB for the process, 1 GiB
    given = Settings(repository=tmp_path, max_held_bytes=2**30)
    assert [fitting(location, given, memory) for memory in (0, 3 * gib, 4 * gib + gib // 8)] == [1, 2, 4]
    held = given.model_copy()
    held.model_fields_set.discard("max_held_bytes")  # as if it were the default
    assert fitting(location, held, 9 * gib) == 1  # of 50,000,000 pixels only one image fits
    small = held.model_copy(update={"max_pixels": 1_000_000, "max_body_bytes": 1_000_000})
    assert fitting(location, small, 9 * gib + gib // 8) == 9


def test_one_process_is_used_for_few_files_and_on_a_device(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location, given = location_of(colours), Settings(repository=colours, threads=2)
    monkeypatch.setattr(opening, "half_of_memory", lambda: 2**40)
    monkeypatch.setattr(opening, "fitting", lambda *_: 9)
    read = 0

    def files(count: int) -> Iterator[ImageFile]:
        nonlocal read
        for _ in range(count):
            read += 1
            yield ImageFile("a.png")

    assert default_processes(location, given, files(10 * FEW)) == 2
    assert read == FEW
    assert default_processes(location, given, files(FEW - 1)) == 1
    one = given.model_copy(update={"threads": 1})
    assert default_processes(location, one, files(FEW)) == 1
    monkeypatch.setattr(opening, "on_cores", lambda *_: False)
    assert default_processes(location, given, files(FEW)) == 1


def test_a_named_device_decides_whether_runs_use_the_cores() -> None:
    assert on_cores("auto", "cpu")
    assert on_cores("openvino", "auto")
    assert on_cores("onnxruntime", "cpu")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--processes", "3", "--threads", "2"], "--processes 3 needs a thread for each, but there are 2"),
        (["--processes", "2", "--ray", "local"], "argument --ray: not allowed with argument --processes"),
        (["--processes", "0"], "0 is below 1"),
    ],
)
def test_numbers_of_processes_that_cannot_be_used_are_usage_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    try:
        status = main(["predict", "a.png", "--output", str(tmp_path / "p.csv"), *arguments])
    except SystemExit as error:
        status = int(str(error.code))
    assert status == 2
    assert reason in capsys.readouterr().err


def test_the_servers_number_of_processes_does_not_apply(
    colours: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POSBAKE_PROCESSES", "64")
    arguments = ["--repository", str(colours), "--output", str(tmp_path / "p.csv"), "--json"]
    assert main(["predict", str(pictures), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["processes"] == 1
