"""Several processes: the results of one process, in the same order."""

import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.offline import processes
from service.offline.__main__ import main
from service.offline.errors import OfflineError
from service.offline.files import ImageFile, image_files
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
from service.offline.errors import OfflineError

def run(self, files, stopping):
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


def test_an_error_of_a_run_in_a_process_is_raised_with_its_message(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_PROGRAM", FAILING)
    with (
        running_in_processes(location_of(settings.repository), settings, 1) as runner,
        pytest.raises(OfflineError, match=r"^the backend of colours/mean/1 fails repeatedly$"),
    ):
        list(runner.run([ImageFile("a.png")], Stopping()))


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
