"""Several processes: the results of one process, and no process outlives the run."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.backends import on_cores
from service.offline import opening, output, processes
from service.offline.__main__ import main
from service.offline.errors import OfflineError
from service.offline.files import ImageFile, image_files
from service.offline.opening import FEW, default_processes, fitting
from service.offline.processes import ProcessRunner, running_in_processes, shares, work
from service.offline.running import Result, running
from service.offline.stopping import Stopping
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.offline.servables import location_of, servable_of
from tests.service.offline.test_predict import without_times

pytestmark = pytest.mark.slow

SECONDS = 30

ENDING = """
import os, sys
from pathlib import Path
from service.offline import output
from service.offline.__main__ import main

added, rows = output.Output.add, 0

def add(self, row):
    global rows
    rows += 1
    added(self, row)
    if rows == 12:
        self.flush()
        print(Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)
        os.kill(os.getpid(), int(sys.argv[1]))

output.Output.add = add
sys.exit(main(sys.argv[2:]))
"""
"""Command that sends itself a signal after 11 rows, and prints the process ids of its children before."""

FAILING = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from service.offline import process_program
from service.offline.errors import OfflineError

def run(self, files, stopping):
    yield from ()
    raise OfflineError("the backend of colours/mean/1 fails repeatedly")

process_program.Runner.run = run
process_program.main(int(sys.argv[2]))
"""

LOADING = """
import json, sys, time
sys.path[:] = json.loads(sys.argv[1])
from pathlib import Path
from service.offline import process_program

def load(self, location):
    Path(f"{location.path}/{sys.argv[2]}.loading").touch()
    time.sleep(60)

process_program.Loader.open = load
process_program.main(int(sys.argv[2]))
"""

KILLED = """
import os, sys, threading, time
from pathlib import Path
from artifact import scan
from service.offline import processes
from service.settings import Settings

def kill():
    while len(list(location.path.glob("*.loading"))) < 2:
        time.sleep(0.01)
    print(Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)
    os.kill(os.getpid(), 9)

(location,) = scan(Path(sys.argv[1]))
processes._PROGRAM = sys.argv[2]
threading.Thread(target=kill).start()
with processes.running_in_processes(location, Settings(threads=2), 2):
    pass
"""


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def all_end(pids: list[int]) -> bool:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and not all(map(has_ended, pids)):
        time.sleep(0.01)
    return all(map(has_ended, pids))


def children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


@pytest.fixture(scope="module")
def settings(colours: Path) -> Settings:
    return Settings(repository=colours, threads=2)


@pytest.fixture(scope="module")
def runner(settings: Settings) -> Iterator[ProcessRunner]:
    with running_in_processes(location_of(settings.repository), settings, 2) as runner:
        yield runner


def content(results: list[Result]) -> list[tuple[ImageFile, list[float] | None, str]]:
    return [
        (result.file, None if result.output is None else result.output.tolist(), result.error) for result in results
    ]


def test_results_and_their_order_equal_those_of_one_process(
    runner: ProcessRunner, settings: Settings, pictures: Path
) -> None:
    (pictures / os.fsdecode(b"\xff.png")).write_bytes((pictures / "red" / "00.png").read_bytes())
    (pictures / "line\nbreak, 'é'.png").write_bytes((pictures / "blue" / "02.png").read_bytes())
    (pictures / "cut.png").write_bytes(b"\x89PNG")
    files = [*image_files([pictures]), ImageFile("locked", flaw="cannot be listed: Permission denied")]
    servable = servable_of(settings)
    with running(servable, settings) as here:
        expected = content(list(here.run(files, Stopping())))
    servable.backend.close()
    assert content(list(runner.run(iter(files), Stopping()))) == expected
    assert [file for file, *_ in expected] == files
    assert [error for *_, error in expected if error][-1] == "the file cannot be listed: Permission denied"
    assert (runner.processes, runner.backend, runner.artifact) == (2, here.backend, here.artifact)


def test_the_number_of_files_in_progress_is_limited_and_a_signal_finishes_them(
    runner: ProcessRunner, pictures: Path
) -> None:
    path, listed, stopping = str(pictures / "red" / "00.png"), 0, Stopping()
    used: set[int] = set()

    def endless() -> Iterator[ImageFile]:
        nonlocal listed
        for listed in itertools.count(1):
            yield ImageFile(path, class_index=listed)

    ahead, returned = [], []
    with pytest.raises(KeyboardInterrupt), stopping.signals(), stopping.deferred():
        for result in runner.run(endless(), stopping):
            returned.append(result.file.class_index)
            ahead.append(listed - len(returned))
            used.update(number for number, child in enumerate(runner._children) if child.files)
            if len(returned) == 1000:
                os.kill(os.getpid(), signal.SIGINT)
    assert returned == list(range(1, listed + 1))
    assert max(ahead) <= 4 * 32  # twice the windows of both
    assert len(returned) <= 1000 + 4 * 32
    assert used == {0, 1}


def test_a_slow_process_holds_few_files() -> None:
    assert work(0, 0.0, 2, 32) == 2
    assert work(35, 10.0, 2, 32) == 3
    assert work(9000, 10.0, 2, 32) == 32


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_process_and_is_resumed_like_a_whole_one(
    colours: Path, pictures: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    arguments = [str(pictures), "--repository", str(colours), "--quiet", "--output"]
    ended, whole = tmp_path / "ended.csv", tmp_path / "whole.csv"
    command = [sys.executable, "-c", ENDING, str(int(number)), "predict", "--threads", "2", "--processes", "2"]
    run = subprocess.run([*command, *arguments, str(ended)], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == status, run.stderr
    pids = [int(pid) for pid in run.stdout.split()]
    assert len(pids) == 2
    assert all_end(pids)
    rows = len(without_times(ended))
    assert rows == 11 if number == signal.SIGKILL else 11 <= rows <= 30
    assert main(["predict", *arguments, str(ended)]) == main(["predict", *arguments, str(whole)]) == 0
    assert without_times(ended) == without_times(whole)


def test_processes_that_load_the_artifact_end_with_a_killed_parent(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    command = [sys.executable, "-c", KILLED, str(tmp_path), LOADING]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    pids = [int(pid) for pid in run.stdout.split()]
    assert len(pids) == 2
    assert all_end(pids)


def test_a_process_that_crashes_ends_the_run_with_the_signal_and_complete_rows(
    colours: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows, found, added = 0, list[int](), output.Output.add

    def add(self: output.Output, row: bytes) -> None:
        nonlocal rows
        rows += 1
        added(self, row)
        if rows == 3:  # a header and two rows
            found.extend(set(children()) - before)
            os.kill(found[0], signal.SIGSEGV)

    paths = [str(pictures / "red" / "00.png")] * 2000
    before = set(children())
    monkeypatch.setattr(output.Output, "add", add)
    arguments = ["--repository", str(colours), "--threads", "2", "--processes", "2", "--json"]
    assert main(["predict", *paths, *arguments, "--output", str(tmp_path / "p.csv")]) == 1
    out, error = capsys.readouterr()
    assert "of 2 was ended by SIGSEGV, its first unfinished file was" in error
    assert "results written before are kept" in error
    assert "--processes 1" in error
    written = without_times(tmp_path / "p.csv")
    assert json.loads(out)["written"] == len(written) == rows - 1 >= 2
    assert all(row["label_1"] == "red" for row in written)
    assert len(found) == 2
    assert all_end(found)


def test_an_error_of_a_run_in_a_process_is_raised_with_its_message(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_PROGRAM", FAILING)
    with (
        running_in_processes(location_of(settings.repository), settings, 1) as runner,
        pytest.raises(OfflineError, match=r"^the backend of colours/mean/1 fails repeatedly$"),
    ):
        list(runner.run([ImageFile("a.png")], Stopping()))


def test_an_artifact_that_cannot_be_opened_is_reported_once(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add_artifact(tmp_path / "repository", logits="unrunnable")
    arguments = ["--repository", str(tmp_path / "repository"), "--threads", "2", "--processes", "2"]
    before = children()
    assert main(["predict", str(pictures), *arguments, "--output", str(tmp_path / "p.csv")]) == 1
    error = capfd.readouterr().err
    assert error.count("failed while running the graph") == 1
    assert "Traceback" not in error
    assert children() == before
    assert not (tmp_path / "p.csv").exists()


def test_evaluate_counts_the_same_in_two_processes(
    colours: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "red" / "00.png").rename(pictures / "blue" / "00.png")
    (pictures / "green" / "cut.png").write_bytes(b"\x89PNG")
    found = []
    for count in (1, 2):
        arguments = ["--repository", str(colours), "--threads", "2", "--processes", str(count), "--json"]
        assert main(["evaluate", str(pictures), *arguments]) == 1
        (variant,) = json.loads(capsys.readouterr().out)["variants"]
        assert variant.pop("processes") == count
        found.append({name: value for name, value in variant.items() if name not in ("seconds", "images_per_second")})
    assert found[0] == found[1]
    assert (found[0]["count"], found[0]["excluded"], found[0]["top1"]) == (30, 1, 29 / 30)


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
