import os
from pathlib import Path

import pytest

from candle_vllm_core.runtime.threads import usable_cores


def machine(root: Path, cores: list[str], files: dict[str, str]) -> Path:
    """A machine whose hardware threads have these siblings."""
    for cpu, siblings in enumerate(cores):
        path = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        path.mkdir(parents=True)
        (path / "thread_siblings_list").write_text(siblings)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


FOUR_CORES = ["0,4", "1,5", "2,6", "3,7"] * 2
V2, V1 = {"proc/self/cgroup": "0::/a/b\n"}, {"proc/self/cgroup": "5:cpu,cpuacct:/a\n2:memory:/a\n"}


@pytest.mark.parametrize(
    ("allowed", "files", "cores"),
    [
        (8, {}, 4),
        (2, {}, 2),
        (8, V2 | {"sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 4),
        (8, V2 | {"sys/fs/cgroup/a/b/cpu.max": "300000 100000"}, 3),
        (8, V2 | {"sys/fs/cgroup/a/cpu.max": "250000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 2),
        (8, V2 | {"sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
        (
            8,
            V1
            | {
                f"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_{n}_us": v for n, v in (("quota", "200000"), ("period", "100000"))
            },
            2,
        ),
        (
            8,
            V1 | {f"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_{n}_us": v for n, v in (("quota", "-1"), ("period", "100000"))},
            4,
        ),
    ],
)
def test_cores_are_counted_once_and_no_more_than_there_is_time_for(
    allowed: int, files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    assert usable_cores(machine(tmp_path, FOUR_CORES, files)) == cores


def test_this_machine_has_a_core() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
