"""How many threads a step should compute with: the cores that this process may use, counted once. No torch here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path("/")


def usable_cores(root: Path = ROOT) -> int:
    """Physical cores that the process may run on, no more than its control groups give it time for; at least 1.

    Two hardware threads of one core share what matrix products are limited by, so they count once. `root` is where
    `/proc` and `/sys` are.
    """
    return max(1, min(_cores(root), *_quotas(root)))


def _cores(root: Path) -> int:
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:
        return psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return len({_siblings(root, cpu) for cpu in allowed})


def _siblings(root: Path, cpu: int) -> str:
    """Names the core of a hardware thread."""
    try:
        return (root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _quotas(root: Path) -> Iterator[int]:
    """Whole cores that each control group of the process has time for (Linux, both versions); none: no limit."""
    yield 1 << 16
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
            home = root / "sys/fs/cgroup" / controllers
            own = home / path.lstrip("/")
            for group in (own, *(parent for parent in own.parents if parent.is_relative_to(home))):
                yield from _quota(group)


def _quota(group: Path) -> Iterator[int]:
    """The share of one control group, rounded down but for a part of a core, which is one."""
    try:
        if (both := group / "cpu.max").exists():
            quota, period = both.read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except OSError:
        return
    if quota not in ("max", "-1"):
        yield max(1, int(quota) // int(period))
