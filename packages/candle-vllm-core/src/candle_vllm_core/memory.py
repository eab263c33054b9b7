"""What an engine holds in memory, as frozen data, and how to give back what it held. No torch here."""

from __future__ import annotations

import ctypes
import mmap
import sys
from dataclasses import dataclass

HUGE_PAGE = 2 << 20
"""Bytes, on x86-64 and on most other processors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """What an engine holds in memory once its model is loaded and its largest step runs; str() says it in one line."""

    device: str
    dtype: str
    weight_bytes: int
    """The weights as they are held: in `dtype`, packed where that is done."""
    kv_bytes: int
    """The whole KV cache, with the states of recurrent layers."""
    activation_bytes: int
    """The peak of a step of `prefill_chunk_size` tokens that also draws for every sequence."""
    overhead_bytes: int = 0
    """What comes once on a CPU: the tokenizer, code of libraries that runs for the first time, and machine code that
    oneDNN makes; without C functions each further size of a step adds some 0.7 MB for each shape of matrix. Measured,
    not counted. It does not come on a GPU, nor what Python and torch took before."""
    graph_bytes: int = 0
    """On a GPU: the tensors of steps that are recorded as CUDA graphs, and the memory that those compute in."""
    free_bytes: int
    """Free on the device before anything was loaded."""
    block_size: int
    """Tokens in one block."""
    kv_blocks: int
    """Blocks of all groups of layers."""
    kv_tokens: int
    """Tokens that the KV cache holds at once, of all sequences together; layers with a window keep fewer of them."""
    max_sequence_length: int
    longest_sequences: int
    """How many sequences of `max_sequence_length` tokens can run at once."""

    @property
    def total_bytes(self) -> int:
        """All of these together; what the process held before comes on top."""
        return self.weight_bytes + self.kv_bytes + self.activation_bytes + self.overhead_bytes + self.graph_bytes

    def __str__(self) -> str:
        """One line, for a log or a terminal."""
        return (
            f"{said_bytes(self.total_bytes)} of {said_bytes(self.free_bytes)} free on {self.device}: "
            f"weights {said_bytes(self.weight_bytes)} in {self.dtype}, KV cache {said_bytes(self.kv_bytes)} "
            f"({self.kv_blocks:,} blocks of {self.block_size}, {self.kv_tokens:,} tokens, {self.longest_sequences:,} "
            f"sequences of {self.max_sequence_length:,} at once), activations {said_bytes(self.activation_bytes)}"
            + (f", once for the process {said_bytes(self.overhead_bytes)}" if self.overhead_bytes else "")
            + (f", recorded steps {said_bytes(self.graph_bytes)}" if self.graph_bytes else "")
        )


def said_bytes(count: int) -> str:
    """A number of bytes in three digits: 1,234,567,890 is 1.23 GB."""
    for size, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def return_freed_memory() -> None:
    """Hand memory that was freed back to the operating system; glibc would keep most of a closed model's."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def ask_for_huge_pages(address: int, size: int) -> None:
    """Have memory that is still to be written in huge pages, where the operating system gives them to who asks.

    What is read from one end to the other is read faster: a processor fetches ahead within pages, and looks up each.
    All pages that it touches are asked for, so that what lies side by side stays one mapping, of which there can be
    some 65,000: a large mixture has tens of thousands of matrices.
    """
    start, stop = address // mmap.PAGESIZE * mmap.PAGESIZE, -(-(address + size) // mmap.PAGESIZE) * mmap.PAGESIZE
    if size >= HUGE_PAGE and (advice := getattr(mmap, "MADV_HUGEPAGE", None)) is not None:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), advice)
