"""Servers are ended with all processes that they started, daemons included, and no others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.serving_processes import cpu_seconds, end, family

pytestmark = pytest.mark.slow

DAEMON = """
import os, signal, sys, time
os.setsid()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""
SERVER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
time.sleep(600)
"""


def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, start_new_session=True)


def read_pid(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    with process.stdout as output:
        return int(output.readline())


def is_running(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_daemon_that_ignores_sigterm_ends_with_its_server() -> None:
    unrelated = start("import time; time.sleep(600)")
    server = start(SERVER, DAEMON)
    daemon = read_pid(server)
    assert os.getsid(daemon) != server.pid  # ending the server's session would not end it
    assert set(family([server.pid])) == {server.pid, daemon}
    end(server, follow=0.2)
    assert not is_running(daemon)
    assert server.poll() is not None
    assert is_running(unrelated.pid)
    end(unrelated)
    assert not is_running(unrelated.pid)
    assert unrelated.stdout is not None
    unrelated.stdout.close()


def test_processes_left_in_the_session_of_a_crashed_server_end() -> None:
    left_behind = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    server = start('import subprocess, sys; subprocess.Popen([sys.executable, "-c", sys.argv[1]])', left_behind)
    orphan = read_pid(server)
    server.wait(10)
    assert is_running(orphan)
    end(server, follow=0)
    assert not is_running(orphan)


def test_the_cpu_time_of_a_process_includes_that_of_its_children() -> None:
    busy = "import os, time\nwhile time.process_time() < 0.3: pass\nprint(os.getpid(), flush=True)\ntime.sleep(600)"
    server = start(SERVER, busy)
    read_pid(server)
    assert cpu_seconds(server.pid) >= 0.3
    end(server, follow=0)
