from pathlib import Path

import pytest

from candle_vllm_core.runtime.container import left_in_container


def write(folder: Path, limit: str, used: int, inactive: int, *, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    key = "inactive_file" if version == 2 else "total_inactive_file"
    (folder / "memory.stat").write_text(f"anon 5\n{key} {inactive}\n")


def said(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cgroup"
    path.write_text(text)
    return path


def test_a_containers_limit_counts_less_what_is_used_and_cannot_be_given_up(tmp_path: Path) -> None:
    write(tmp_path, "1000", 700, 200)
    assert left_in_container(tmp_path, said(tmp_path, "0::/\n")) == 500


def test_the_tightest_limit_around_counts(tmp_path: Path) -> None:
    write(tmp_path / "a", "1000", 600, 0)
    write(tmp_path / "a/b", "max", 600, 0)
    write(tmp_path / "other", "10", 0, 0)
    assert left_in_container(tmp_path, said(tmp_path, "0::/a/b\n")) == 400


def test_the_first_version_is_read_too(tmp_path: Path) -> None:
    write(tmp_path / "memory/docker", "1000", 100, 50, version=1)
    assert left_in_container(tmp_path, said(tmp_path, "3:cpu,cpuacct:/docker\n2:memory:/docker\n")) == 950


def test_over_the_limit_nothing_is_left(tmp_path: Path) -> None:
    write(tmp_path, "1000", 1200, 0)
    assert left_in_container(tmp_path, said(tmp_path, "0::/\n")) == 0


@pytest.mark.parametrize("text", ["", "0::/\n", "nonsense\n", "0::/../../x\n"])
def test_without_a_limit_there_is_none(tmp_path: Path, text: str) -> None:
    write(tmp_path / "x", "max", 1, 1)
    assert left_in_container(tmp_path, said(tmp_path, text)) is None
    assert left_in_container(tmp_path, tmp_path / "missing") is None
