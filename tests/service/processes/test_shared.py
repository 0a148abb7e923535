"""Directory of snapshots shared by the processes of a service."""

from pathlib import Path

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from service.problems.server_errors import NotReadyError
from service.processes.shared import Place, Shared, end, number_ready, snapshot_name, write
from service.processes.snapshot import Snapshot


def place(directory: Path, index: int = 0, count: int = 3) -> Place:
    return Place(index, count, str(directory), 8000, 3)


def snapshot(made: int, held: int = 0) -> Snapshot:
    return Snapshot([CounterMetricFamily("made", "help", made), GaugeMetricFamily("held", "help", held)])


def values(directory: Path) -> dict[str, float]:
    families = Shared(place(directory)).others().families
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_a_place_is_passed_in_an_environment_variable(tmp_path: Path) -> None:
    assert Place.of({}) is None
    assert Place.of(place(tmp_path, 2).variable()) == place(tmp_path, 2)


def test_others_are_all_processes_except_this_one(tmp_path: Path) -> None:
    Shared(place(tmp_path)).publish(snapshot(1000))
    assert values(tmp_path) == {}
    write(tmp_path, snapshot_name(1, 17), snapshot(5, 1))
    write(tmp_path, snapshot_name(2, 18), snapshot(7, 2))
    assert values(tmp_path) == {"made_total": 12, "held": 3}


def test_a_snapshot_replaces_the_previous_one(tmp_path: Path) -> None:
    write(tmp_path, snapshot_name(1, 17), snapshot(5))
    write(tmp_path, snapshot_name(1, 17), snapshot(6))
    assert values(tmp_path)["made_total"] == 6
    assert [path.name for path in tmp_path.iterdir()] == [snapshot_name(1, 17)]


def test_counts_of_ended_processes_are_kept_and_never_counted_twice(tmp_path: Path) -> None:
    for pid in (17, 18, 19):
        write(tmp_path, snapshot_name(1, pid), snapshot(5, 1))
        before = values(tmp_path)["made_total"]
        end(tmp_path, 1, pid)
        assert values(tmp_path) == {"made_total": before}
    write(tmp_path, snapshot_name(1, 18), snapshot(5))  # as if not removed yet
    assert values(tmp_path) == {"made_total": 15}
    end(tmp_path, 2, 99)  # ended before it published a snapshot
    assert values(tmp_path) == {"made_total": 15}


def test_the_service_is_ready_once_every_process_has_been_ready(tmp_path: Path) -> None:
    shared = [Shared(place(tmp_path, index)) for index in range(3)]
    for ready, one in enumerate(shared):
        with pytest.raises(NotReadyError, match=f"{ready} of 3 processes are ready"):
            shared[0].check()
        one.mark_ready()
    shared[0].check()
    (tmp_path / "1.ready").unlink()
    shared[0].check()  # readiness is not withdrawn


def test_a_mark_of_a_ready_process_that_was_removed_is_written_again(tmp_path: Path) -> None:
    shared = Shared(place(tmp_path))
    shared.publish(snapshot(1))
    assert number_ready(tmp_path) == 0  # it is still starting
    shared.mark_ready()
    (tmp_path / "0.ready").unlink()  # by a cleaner of /tmp
    shared.publish(snapshot(2))
    assert number_ready(tmp_path) == 1
