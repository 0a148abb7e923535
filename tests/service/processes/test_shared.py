"""The directory that processes share."""

from pathlib import Path

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from service.problems.server_errors import NotReadyError
from service.processes.shared import Place, Shared, end, snapshot_name, write
from service.processes.snapshot import Snapshot


def place(directory: Path, index: int = 0, count: int = 3) -> Place:
    return Place(index, count, str(directory), 8000, 3)


def snapshot(made: int, held: int = 0) -> Snapshot:
    return Snapshot([CounterMetricFamily("made", "of it", made), GaugeMetricFamily("held", "by it", held)])


def seen(directory: Path) -> dict[str, float]:
    families = Shared(place(directory)).others().families
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_the_place_comes_by_an_environment_variable(tmp_path: Path) -> None:
    assert Place.of({}) is None
    assert Place.of(place(tmp_path, 2).variable()) == place(tmp_path, 2)


def test_others_are_all_but_this_process(tmp_path: Path) -> None:
    Shared(place(tmp_path)).publish(snapshot(1000))
    assert seen(tmp_path) == {}
    write(tmp_path, snapshot_name(1, 17), snapshot(5, 1))
    write(tmp_path, snapshot_name(2, 18), snapshot(7, 2))
    assert seen(tmp_path) == {"made_total": 12, "held": 3}


def test_a_snapshot_replaces_that_before(tmp_path: Path) -> None:
    write(tmp_path, snapshot_name(1, 17), snapshot(5))
    write(tmp_path, snapshot_name(1, 17), snapshot(6))
    assert seen(tmp_path)["made_total"] == 6
    assert [path.name for path in tmp_path.iterdir()] == [snapshot_name(1, 17)]


def test_counts_of_processes_that_ended_stay_and_never_count_twice(tmp_path: Path) -> None:
    for pid in (17, 18, 19):
        write(tmp_path, snapshot_name(1, pid), snapshot(5, 1))
        before = seen(tmp_path)["made_total"]
        end(tmp_path, 1, pid)
        assert seen(tmp_path) == {"made_total": before}
    write(tmp_path, snapshot_name(1, 18), snapshot(5))  # as if it had not been removed yet
    assert seen(tmp_path) == {"made_total": 15}
    end(tmp_path, 2, 99)  # ended before it published anything
    assert seen(tmp_path) == {"made_total": 15}


def test_ready_means_that_every_process_was_ready_once(tmp_path: Path) -> None:
    shared = [Shared(place(tmp_path, index)) for index in range(3)]
    for ready, one in enumerate(shared):
        with pytest.raises(NotReadyError, match=f"{ready} of 3 processes are ready"):
            shared[0].check()
        one.mark_ready()
    shared[0].check()
    (tmp_path / "1.ready").unlink()
    shared[0].check()  # it is not taken back
