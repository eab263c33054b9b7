"""A checkpoint's fingerprint is that of its content."""

import os
import shutil
from pathlib import Path

import pytest

from candle_vllm_core.weights import fingerprint as module
from candle_vllm_core.weights.fingerprint import fingerprint


@pytest.fixture(autouse=True)
def small_files_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE", 100)
    monkeypatch.setattr(module, "PIECE", 10)


def checkpoint(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 4)
    return folder


def test_a_copy_has_the_same_one(tmp_path: Path) -> None:
    first = checkpoint(tmp_path / "a")
    second = tmp_path / "b"
    shutil.copytree(first, second)
    os.utime(second / "config.json", (0, 0))
    (second / ".cache").write_text("what a download leaves behind")
    assert fingerprint(second) == fingerprint(first)


@pytest.mark.parametrize("at", [0, 1023])
def test_another_byte_gives_another(tmp_path: Path, at: int) -> None:
    folder = checkpoint(tmp_path / "a")
    before, weights = fingerprint(folder), folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[at] ^= 1
    weights.write_bytes(content)
    assert fingerprint(folder) != before


def test_another_name_size_or_small_file_gives_another(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "a")
    seen = {fingerprint(folder)}
    (folder / "config.json").write_text("[]")
    seen.add(fingerprint(folder))
    (folder / "config.json").rename(folder / "config.txt")
    seen.add(fingerprint(folder))
    with (folder / "model.safetensors").open("ab") as weights:
        weights.write(b"\0")
    seen.add(fingerprint(folder))
    assert len(seen) == 4
