"""Several processes: the results of one process, in the same order."""

import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from artifact import read_artifact
from service.offline import processes
from service.offline.__main__ import main
from service.offline.errors import OfflineError, OutputError
from service.offline.files import ImageFile, image_files
from service.offline.process_program import Opened
from service.offline.processes import ProcessRunner, running_in_processes, work
from service.offline.running import Result, running
from service.offline.stopping import Stopping
from service.settings import Settings
from tests.service.offline.servables import location_of, servable_of

pytestmark = pytest.mark.slow

FAILING = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from service.offline import process_program
from service.offline.errors import OfflineError, OutputError

def run(self, files, make, stopping):
    yield from ()
    raise OfflineError("the backend of colours/mean/1 fails repeatedly")

process_program.Runner.run = run
process_program.main(int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def settings(colours: Path) -> Settings:
    return Settings(repository=colours, threads=2)


@pytest.fixture(scope="module")
def runner(settings: Settings) -> Iterator[ProcessRunner]:
    with running_in_processes(location_of(settings.repository), settings, 2) as runner:
        yield runner


def content(result: Result) -> tuple[ImageFile, list[float] | None, str]:
    return result.file, None if result.output is None else result.output.tolist(), result.error


def label_of(result: Result) -> int:
    return result.file.class_index


def test_results_and_their_order_equal_those_of_one_process(
    runner: ProcessRunner, settings: Settings, pictures: Path
) -> None:
    (pictures / os.fsdecode(b"\xff.png")).write_bytes((pictures / "red" / "00.png").read_bytes())
    (pictures / "line\nbreak, 'é'.png").write_bytes((pictures / "blue" / "02.png").read_bytes())
    (pictures / "cut.png").write_bytes(b"\x89PNG")
    files = [*image_files([pictures]), ImageFile("locked", flaw="cannot be listed: Permission denied")]
    servable = servable_of(settings)
    with running(servable, settings) as here:
        expected = list(here.run(files, content, Stopping()))
    servable.backend.close()
    assert list(runner.run(iter(files), content, Stopping())) == expected
    assert [file for file, *_ in expected] == files
    assert [error for *_, error in expected if error][-1] == "the file cannot be listed: Permission denied"
    pids = [child.process.pid for child in runner._children]
    assert list(map(os.getsid, pids)) == pids  # a terminal's Ctrl-C does not reach them
    assert (runner.processes, runner.backend, runner.artifact) == (2, here.backend, here.artifact)


def test_the_number_of_files_in_progress_is_limited_and_a_signal_finishes_them(
    runner: ProcessRunner, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, listed, stopping = str(pictures / "red" / "00.png"), 0, Stopping()
    slow = runner._children[0].process
    received, left = processes._Child.receive, dict.fromkeys(runner._children, 0)

    def receive(self: processes._Child) -> None:
        received(self)
        left[self] = max(left[self], len(self.files))

    monkeypatch.setattr(processes._Child, "receive", receive)

    def endless() -> Iterator[ImageFile]:
        nonlocal listed
        for listed in itertools.count(1):
            yield ImageFile(path, class_index=listed)

    ahead, returned = [], []
    with pytest.raises(KeyboardInterrupt), stopping.signals(), stopping.deferred():
        for label in runner.run(endless(), label_of, stopping):
            returned.append(label)
            ahead.append(listed - len(returned))
            assert len(returned) < 5000
            if len(returned) == 200:
                slow.send_signal(signal.SIGSTOP)
                threading.Timer(0.5, slow.send_signal, [signal.SIGCONT]).start()
            if len(returned) == 1000:
                for pid in (*(child.process.pid for child in runner._children), os.getpid()):
                    os.kill(pid, signal.SIGINT)  # service managers send signals to all processes
    assert returned == list(range(1, listed + 1))
    assert max(ahead) <= 4 * 32  # twice the windows of both
    assert len(returned) <= 1000 + 4 * 32
    assert min(left.values()) > 0  # results are sent while other files run


def path_without_blue(result: Result) -> str:
    if "blue" in result.file.path:
        raise OutputError("no blue, please")
    return result.file.path


def test_an_error_of_the_function_ends_the_run_and_keeps_values_before_it(settings: Settings, pictures: Path) -> None:
    red, blue = (sorted(map(str, (pictures / name).glob("*.png"))) for name in ("red", "blue"))
    made: list[str] = []
    with (
        running_in_processes(location_of(settings.repository), settings, 1) as runner,
        pytest.raises(OfflineError, match=r"^no blue, please$"),
    ):
        made.extend(runner.run(map(ImageFile, [*red[:5], *blue]), path_without_blue, Stopping()))
    assert made == red[:5]


def test_a_function_that_a_process_cannot_import_ends_the_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(result: Result) -> str:
        return result.file.path

    monkeypatch.setitem(sys.modules, "nowhere", ModuleType("nowhere"))
    sys.modules["nowhere"].elsewhere = elsewhere  # type: ignore[attr-defined]
    elsewhere.__module__, elsewhere.__qualname__ = "nowhere", "elsewhere"
    with (
        running_in_processes(location_of(settings.repository), settings, 1) as runner,
        pytest.raises(OfflineError, match=r"ended with status 1, its first unfinished file was a\.png"),
    ):
        list(runner.run([ImageFile("a.png")], elsewhere, Stopping()))


def test_a_slow_process_holds_few_files() -> None:
    assert work(0, 0.0, 2, 32) == 2
    assert work(35, 10.0, 2, 32) == 3
    assert work(9000, 10.0, 2, 32) == 32


def test_an_artifact_that_changes_between_the_processes_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = read_artifact(location_of(settings.repository).path)
    other = replace(artifact, manifest=artifact.manifest.model_copy(update={"architecture": "median-colour"}))
    monkeypatch.setattr(processes, "_opened", lambda _: [Opened(one, "scripted-cpu", 32) for one in (artifact, other)])
    with (
        pytest.raises(OfflineError, match="changed while it was opened"),
        running_in_processes(location_of(settings.repository), settings, 1),
    ):
        pass


def test_an_error_of_a_run_in_a_process_is_raised_with_its_message(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_PROGRAM", FAILING)
    with (
        running_in_processes(location_of(settings.repository), settings, 1) as runner,
        pytest.raises(OfflineError, match=r"^the backend of colours/mean/1 fails repeatedly$"),
    ):
        list(runner.run([ImageFile("a.png")], content, Stopping()))


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
