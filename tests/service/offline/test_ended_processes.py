"""Ends of runs in several processes, by signals and crashes: no process outlives the run, and rows are complete."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.offline import output
from service.offline.__main__ import main
from tests.service.artifacts import add_artifact
from tests.service.offline.test_predict import ENDING, without_times

pytestmark = pytest.mark.slow

SECONDS = 30

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

    def add(self: output.Output, row: bytes, **failed: bool) -> None:
        nonlocal rows
        rows += 1
        added(self, row, **failed)
        if rows == 2:
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
    assert json.loads(out)["written"] == len(written) == rows >= 2
    assert all(row["label_1"] == "red" for row in written)
    assert len(found) == 2
    assert all_end(found)


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
