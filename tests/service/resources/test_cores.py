"""Number of cores, from cgroup files as written by the kernel."""

import os
from pathlib import Path

import pytest

from service.resources.cores import available_cores

AFFINITY = len(os.sched_getaffinity(0))


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


V1 = "sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, AFFINITY),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, AFFINITY),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "9000000 100000\n"}, min(AFFINITY, 90)),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "1000 1000\n", "sys/fs/cgroup/a/b/x": ""}, 1),
        ({"proc/self/cgroup": "0::/not/seen\n", "sys/fs/cgroup/cpu.max": "1000 1000\n"}, 1),
        (
            {
                "proc/self/cgroup": "4:memory:/m\n1:cpu,cpuacct:/c\n",
                f"{V1}/c/cpu.cfs_quota_us": "100000\n",
                f"{V1}/c/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n0::/\n",
                f"{V1}/cpu.cfs_quota_us": "-1\n",
                f"{V1}/cpu.cfs_period_us": "100000\n",
            },
            AFFINITY,
        ),
    ],
    ids=[
        "no cgroups",
        "no limit",
        "one",
        "half",
        "ninety",
        "limit of the parent",
        "limit of the mount",
        "version 1",
        "v1, no limit",
    ],
)
def test_cores_are_the_minimum_of_affinity_and_quotas(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    assert available_cores(write(tmp_path, files)) == cores


def test_a_fractional_quota_is_rounded_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    for quota, cores in ((150_000, 2), (200_000, 2), (200_001, 3), (6_400_001, 64)):
        files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota} 100000\n"}
        assert available_cores(write(tmp_path, files)) == cores
