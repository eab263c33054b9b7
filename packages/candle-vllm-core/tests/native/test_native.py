"""The library of C functions: it is there wherever it can be."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from candle_vllm_core import native


def test_an_installed_package_has_the_library_where_there_is_a_compiler_and_a_processor_for_it() -> None:
    """Else the tests of what it computes would pass over it in silence."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or not shutil.which("cc"):
        pytest.skip("the library is built on Linux on x86-64, with a C compiler")
    assert {path.name for path in native.FOLDER.glob("*.so")} == {"libnative-avx2.so", "libnative-avx512.so"}
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        assert native.library() is not None


def test_a_broken_library_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"libnative-{native.processor()}.so").write_bytes(b"no library")
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    native.library.cache_clear()
    try:
        assert native.library() is None
    finally:
        native.library.cache_clear()


@pytest.mark.parametrize("capability", ["avx2", "default"])
def test_which_functions_are_taken_follows_what_torch_does_with(capability: str) -> None:
    code = "from candle_vllm_core import native; print(native.processor(), native.library() is not None)"
    here = dict(os.environ, ATEN_CPU_CAPABILITY=capability)
    found = subprocess.run([sys.executable, "-c", code], env=here, capture_output=True, text=True, check=True)
    on_linux = sys.platform == "linux" and platform.machine() == "x86_64" and native.processor() is not None
    right = "avx2" if capability == "avx2" and on_linux else None
    assert found.stdout.split() == [str(right), str(right is not None and shutil.which("cc") is not None)]


@pytest.mark.skipif(native.processor() != "avx512", reason="the processor has no second best")
def test_the_second_best_library_is_taken_where_the_best_was_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(native.FOLDER / "libnative-avx2.so", tmp_path)
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    native.library.cache_clear()
    try:
        found = native.library()
        assert found is not None and Path(found._name).name == "libnative-avx2.so"
    finally:
        native.library.cache_clear()
