"""How much memory the control group of this process may still take: a container's limit is less than the machine's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
VERSIONS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of both versions of control groups: the files with the limit and the use, and what of the use is given up first."""


def left_in_container(root: Path = ROOT, groups: Path = Path("/proc/self/cgroup")) -> int | None:
    """Bytes that may still be taken before the tightest limit; None if there is none, as outside of Linux."""
    return min((left for folder in _folders(root, groups) for left in _left(folder)), default=None)


def _folders(root: Path, groups: Path) -> Iterator[Path]:
    """Where limits may stand: in this process's own group and in those around it; in a container they are the root."""
    lines = groups.read_text().splitlines() if groups.is_file() else []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers in ("", "memory"):
            base = root / controllers
            own = base / path.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder == base or base in folder.parents)


def _left(folder: Path) -> Iterator[int]:
    for limit, used, inactive in VERSIONS:
        try:
            most, now = int((folder / limit).read_text()), int((folder / used).read_text())
            given_up = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # there is no such file, or it says "max"
            continue
        yield max(most - now + int(given_up.get(inactive, 0)), 0)
