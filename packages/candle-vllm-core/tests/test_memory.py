"""What is asked of the operating system for an engine's memory."""

import ctypes
import mmap
from pathlib import Path

import pytest
import torch

from candle_vllm_core.memory import HUGE_PAGE, ask_for_huge_pages
from candle_vllm_core.native import library
from candle_vllm_core.quant.panels import to_panels

MAPS = Path("/proc/self/smaps")

pytestmark = pytest.mark.skipif(
    not MAPS.exists() or not Path("/sys/kernel/mm/transparent_hugepage").exists(),
    reason="the operating system gives no huge pages to who asks",
)


def asked_for(address: int) -> bool:
    """Whether huge pages were asked for where an address lies."""
    inside = False
    for line in MAPS.read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            start, stop = (int(each, 16) for each in first.split("-"))
            inside = start <= address < stop
        elif inside and first == "VmFlags:":
            return "hg" in rest
    raise LookupError(f"nothing lies at {address:x}")


def test_whole_huge_pages_are_asked_for_and_nothing_beside_them() -> None:
    room = mmap.mmap(-1, 5 * HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = -(-ctypes.addressof(ctypes.c_char.from_buffer(room)) // HUGE_PAGE) * HUGE_PAGE
    ask_for_huge_pages(start + 4096, 3 * HUGE_PAGE)
    assert [asked_for(start + n * HUGE_PAGE) for n in range(4)] == [False, True, True, False]
    ask_for_huge_pages(start + 3 * HUGE_PAGE + 4096, HUGE_PAGE)
    assert not asked_for(start + 3 * HUGE_PAGE + 4096)


@pytest.mark.skipif(library() is None, reason="the C functions are not for this machine, or were not built")
def test_huge_pages_are_asked_for_large_matrices() -> None:
    panels = to_panels(torch.zeros(4096, 2048, dtype=torch.bfloat16))
    assert asked_for(panels.data_ptr() + panels.nbytes // 2)
