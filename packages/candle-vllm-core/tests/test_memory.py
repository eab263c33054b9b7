"""What is asked of the operating system for an engine's memory."""

import ctypes
import mmap
from collections.abc import Iterator
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


def mapping(address: int) -> tuple[range, bool]:
    """What an address lies in, and whether huge pages were asked for there."""
    found = None
    for line in MAPS.read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            here = range(*(int(each, 16) for each in first.split("-")))
            found = here if address in here else None
        elif found and first == "VmFlags:":
            return found, "hg" in rest
    raise LookupError(f"nothing lies at {address:x}")


@pytest.fixture
def room() -> Iterator[int]:
    """The address of some pages."""
    pages = mmap.mmap(-1, 5 * HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    yield ctypes.addressof(ctypes.c_char.from_buffer(pages))


def test_huge_pages_are_asked_for_all_that_is_large_and_nothing_beside_it(room: int) -> None:
    ask_for_huge_pages(room + 100, HUGE_PAGE - 1)
    assert not mapping(room)[1], "what is smaller than one"
    ask_for_huge_pages(room + mmap.PAGESIZE + 100, HUGE_PAGE)
    begin, end = room + mmap.PAGESIZE, room + 2 * mmap.PAGESIZE + HUGE_PAGE
    assert mapping(begin) == (range(begin, end), True)
    assert not mapping(room)[1] and not mapping(end)[1]


def test_what_lies_side_by_side_stays_one_mapping(room: int) -> None:
    begin, end = room + mmap.PAGESIZE, room + mmap.PAGESIZE + 4 * HUGE_PAGE
    for start in (begin, begin + 2 * HUGE_PAGE):
        ask_for_huge_pages(start + 64, 2 * HUGE_PAGE - 128)
    assert mapping(begin) == mapping(end - 1) == (range(begin, end), True)


@pytest.mark.skipif(library() is None, reason="the C functions are not for this machine, or were not built")
def test_huge_pages_are_asked_for_large_matrices() -> None:
    panels = to_panels(torch.zeros(4096, 2048, dtype=torch.bfloat16))
    assert mapping(panels.data_ptr() + panels.nbytes // 2)[1]
