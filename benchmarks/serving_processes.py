"""The processes of a server, as Linux shows them in /proc: their CPU time and memory, and their end."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SECONDS_TO_END = 60
SECONDS_TO_FOLLOW = 10


@dataclass(frozen=True)
class Seen:
    """A line of proc_pid_stat(5), fields 3, 4, 6, 14 with 15, and 22; times in ticks."""

    state: str
    parent: int
    session: int
    used: int
    started: int


def family(processes: Iterable[int]) -> dict[int, Seen]:
    """Return processes, all they started, and all in sessions they lead; also those of them that have ended unwaited.

    A process whose parent has ended is still found by its session, or if it is among those given.
    """
    given = set(processes)
    seen = dict(_every())
    members = {one for one, what in seen.items() if one in given or what.session in given}
    while more := {one for one, what in seen.items() if what.parent in members} - members:
        members |= more
    return {one: seen[one] for one in members}


def _every() -> Iterable[tuple[int, Seen]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended since
            continue
        used = int(fields[11]) + int(fields[12])
        yield int(stat.parent.name), Seen(fields[0], int(fields[1]), int(fields[3]), used, int(fields[19]))


def cpu_seconds(process: int) -> float:
    """Return what a process and those it started have used of the CPU."""
    return sum(seen.used for seen in family([process]).values()) / os.sysconf("SC_CLK_TCK")


def resident_bytes(process: int) -> int:
    """Return how much of a process is in memory (proc_pid_statm(5), field 2), pages of mapped files included."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def end(process: subprocess.Popen[bytes], follow: float = SECONDS_TO_FOLLOW) -> None:
    """Terminate a process that leads a session, and wait until nothing of its family runs.

    What is left `follow` seconds later is killed: Ray's daemons are in groups and sessions of their own, and
    some stay when what started them is gone.

    Raises:
        subprocess.TimeoutExpired: the process itself ended only when it was killed.
    """
    before = family([process.pid])
    process.terminate()
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        follow = 0
        raise
    finally:
        last = time.monotonic() + follow
        while left := _left(process.pid, before):
            if time.monotonic() >= last:
                for one in left:
                    with suppress(ProcessLookupError):  # it has ended since
                        os.kill(one, signal.SIGKILL)
            time.sleep(0.05)


def _left(leader: int, before: dict[int, Seen]) -> list[int]:
    """Return those that run of a family seen before and of what it has become; a number may have gone to a stranger."""
    now = dict(_every())
    still = [one for one, seen in before.items() if one in now and now[one].started == seen.started]
    return [one for one, seen in family([leader, *still]).items() if seen.state not in "ZX"]
