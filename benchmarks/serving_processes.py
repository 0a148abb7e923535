"""A server's processes in /proc: CPU time, memory, termination."""

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
    """Fields 3, 4, 6, 14 + 15 and 22 of proc_pid_stat(5); times in ticks."""

    state: str
    parent: int
    session: int
    used: int
    started: int


def family(processes: Iterable[int]) -> dict[int, Seen]:
    """Return processes, their descendants, and the members of the sessions that they lead, zombies included.

    A process whose parent has ended is found by its session, or if it is given.
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
        except (FileNotFoundError, ProcessLookupError):  # the process has ended
            continue
        used = int(fields[11]) + int(fields[12])
        yield int(stat.parent.name), Seen(fields[0], int(fields[1]), int(fields[3]), used, int(fields[19]))


def cpu_seconds(process: int) -> float:
    """Return the CPU seconds of a process and its descendants."""
    return sum(seen.used for seen in family([process]).values()) / os.sysconf("SC_CLK_TCK")


def resident_bytes(process: int) -> int:
    """Return the resident bytes of a process (proc_pid_statm(5), field 2), mapped files included."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def end(process: subprocess.Popen[bytes], follow: float = SECONDS_TO_FOLLOW) -> None:
    """Terminate a process that leads a session, and wait until its whole family has ended.

    Processes that remain `follow` seconds later are killed: Ray's daemons have their own groups and sessions, and some
    outlive their parent.

    Raises:
        subprocess.TimeoutExpired: the process itself had to be killed.
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
                    with suppress(ProcessLookupError):  # it has ended
                        os.kill(one, signal.SIGKILL)
            time.sleep(0.05)


def _left(leader: int, before: dict[int, Seen]) -> list[int]:
    """Return the running members of a family, old and new; start times guard against reused process ids."""
    now = dict(_every())
    still = [one for one, seen in before.items() if one in now and now[one].started == seen.started]
    return [one for one, seen in family([leader, *still]).items() if seen.state not in "ZX"]
