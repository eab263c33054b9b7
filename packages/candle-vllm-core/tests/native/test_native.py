"""The library of C functions: it is there wherever it can be."""

import platform
import shutil
import sys
from pathlib import Path

import pytest
import torch

from candle_vllm_core import native


def test_an_installed_package_has_the_library_where_there_is_a_compiler_and_a_processor_for_it() -> None:
    """Else the tests of what it computes would pass over it in silence."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or not shutil.which("cc"):
        pytest.skip("the library is built on Linux on x86-64, with a C compiler")
    assert native.LIBRARY.exists()
    if torch.cpu._is_avx512_bf16_supported() and torch.cpu._is_vnni_supported():
        assert native.library() is not None


def test_a_broken_library_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (broken := tmp_path / "libnative.so").write_bytes(b"no library")
    monkeypatch.setattr(native, "LIBRARY", broken)
    native.library.cache_clear()
    try:
        assert native.library() is None
    finally:
        native.library.cache_clear()
