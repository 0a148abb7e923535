"""Number of available CPU cores: the minimum of this process's affinity and its cgroups' quotas.

A container's quota limits time, not cores: with a quota of 1.5 cores, two threads sleep a quarter of the time, so the
quota is rounded up. Sources: the kernel's cgroup-v2.rst (`cpu.max`) and sched-bwc.rst (`cpu.cfs_quota_us`).
"""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath


def available_cores(root: Path = Path("/")) -> int:
    """Return the number of cores, at least 1.

    Args:
        root: parent folder of `proc` and `sys`.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *(math.ceil(quota) for quota in _quotas(root))]))


def cgroup_folders(root: Path, controller: str, mounts: Sequence[str]) -> Iterator[Path]:
    """Yield the folder of every cgroup of this process, up to the topmost visible one; none except on Linux.

    Args:
        root: parent folder of `proc` and `sys`.
        controller: controller of version 1.
        mounts: mounts of this controller.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _folders(root / "sys/fs/cgroup", path)
        elif controller in controllers.split(","):
            for mount in mounts:
                yield from _folders(root / "sys/fs/cgroup" / mount, path)


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quota, in cores, of every cgroup of this process."""
    for folder in cgroup_folders(root, "cpu", ("cpu", "cpu,cpuacct")):
        yield from _quota_v2(folder / "cpu.max")
        yield from _quota_v1(folder)


def _folders(mount: Path, path: str) -> Iterator[Path]:
    """Yield a cgroup's folder and its parents. Inside a container, the cgroup is often the mount itself."""
    inside = PurePosixPath(path.lstrip("/"))
    for part in (inside, *inside.parents):
        if (mount / part).is_dir():
            yield mount / part


def _quota_v2(file: Path) -> Iterator[float]:
    if file.is_file():
        quota, period = file.read_text(encoding="utf-8").split()
        if quota != "max":
            yield int(quota) / int(period)


def _quota_v1(folder: Path) -> Iterator[float]:
    quota, period = folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"
    if quota.is_file() and period.is_file() and int(quota.read_text(encoding="utf-8")) > 0:
        yield int(quota.read_text(encoding="utf-8")) / int(period.read_text(encoding="utf-8"))
