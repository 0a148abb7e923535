"""Cleanup after killed processes: unfinished artifacts are removed, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from artifact import read_artifact
from artifact.guard import _make, remove
from tests.artifact.drafts import write
from tests.artifact.trees import ROOT, Tree, tree_of, wait_for

pytestmark = pytest.mark.slow

BEGINNING = """
import os, sys, time
from pathlib import Path
from artifact import stage
from tests.artifact.drafts import LABELS, draft

def children():
    return [int(child) for child in Path("/proc/thread-self/children").read_text().split()]

with stage(Path(sys.argv[1]), "pets", "other", int(sys.argv[2])) as staging:
    staging.graph.write_bytes(b"half of a gra")
"""
READY = """
    print("ready", flush=True)
    sys.stdin.readline()
"""
COMMIT = """
    staging.commit(draft(), LABELS)
"""
KILL_THE_WATCHER = """
    os.kill(*children(), 9)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
"""
NO_CHILDREN = """
print("none" if children() == [] else "some", flush=True)
"""


@contextmanager
def running(script: str, repository: Path, version: int = 1) -> Iterator[subprocess.Popen[str]]:
    """Run a script in its own process group until it is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", BEGINNING + script, str(repository), str(version)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()


def kill_its_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("how", [kill, kill_its_group])
def test_a_killed_process_leaves_the_repository_unchanged(
    tmp_path: Path, how: Callable[[subprocess.Popen[str]], None]
) -> None:
    write(tmp_path)
    before = tree_of(tmp_path)
    with running(READY, tmp_path) as process:
        assert tree_of(tmp_path) != before
        how(process)
    wait_for(tmp_path, before)


def test_without_the_watcher_files_are_left_behind(tmp_path: Path) -> None:
    before = tree_of(tmp_path)
    with running(KILL_THE_WATCHER + READY, tmp_path) as process:
        process.kill()
    time.sleep(0.3)
    assert tree_of(tmp_path) != before


def test_a_repository_created_by_a_killed_process_is_removed(tmp_path: Path) -> None:
    with running(READY, tmp_path / "not" / "yet") as process:
        process.kill()
    wait_for(tmp_path, {})


def test_a_killed_process_does_not_remove_files_of_another(tmp_path: Path) -> None:
    with running(READY, tmp_path, 1) as first, running(READY + COMMIT, tmp_path, 2) as second:
        both = tree_of(tmp_path)
        first.kill()  # it created pets/other, which the second one uses
        wait_for(tmp_path, {name: content for name, content in both.items() if not _is_of(name, 1)})
        second.communicate("go on\n")
    assert read_artifact(tmp_path / "pets" / "other" / "2").manifest.version == 2
    assert [path.name for path in (tmp_path / "pets" / "other").iterdir()] == ["2"]


def _is_of(name: str, version: int) -> bool:
    return name.startswith(f"pets/other/.{version}-")


def test_files_of_other_processes_are_kept(tmp_path: Path) -> None:
    with running(READY, tmp_path) as process:
        (tmp_path / "pets" / "other" / "notes").mkdir()
        process.kill()
    wait_for(tmp_path, {"pets": None, "pets/other": None, "pets/other/notes": None})


def test_a_committed_version_survives_its_process(tmp_path: Path) -> None:
    with running(COMMIT + READY, tmp_path) as process:
        committed = tree_of(tmp_path)
        process.kill()
    time.sleep(0.3)
    assert tree_of(tmp_path) == committed
    assert read_artifact(tmp_path / "pets" / "other" / "1").manifest.variant == "other"


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    with running(READY + NO_CHILDREN, tmp_path) as process:
        assert process.communicate("go on\n")[0] == "none\n"
        assert process.returncode == 0


def test_a_killed_watcher_does_not_stop_the_export(tmp_path: Path) -> None:
    with running(KILL_THE_WATCHER + READY + COMMIT + NO_CHILDREN, tmp_path) as process:
        assert process.communicate("go on\n")[0] == "none\n"
        assert process.returncode == 0
    assert read_artifact(tmp_path / "pets" / "other" / "1").manifest.version == 1


def test_a_parent_removed_by_another_export_is_created_again(tmp_path: Path) -> None:
    directory = tmp_path / "pets" / "learned" / ".1-name"
    making = _make(directory)
    assert next(making) == tmp_path / "pets"
    (tmp_path / "pets").rmdir()
    assert list(making) == [tmp_path / "pets", tmp_path / "pets" / "learned"]
    assert directory.is_dir()


def test_only_empty_parents_are_removed(tmp_path: Path) -> None:
    parents = [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    for parent in parents:
        parent.mkdir()
    (tmp_path / "a" / "file").touch()
    remove(tmp_path / "never was", parents)
    expected: Tree = {"a": None, "a/file": b""}
    assert tree_of(tmp_path) == expected
