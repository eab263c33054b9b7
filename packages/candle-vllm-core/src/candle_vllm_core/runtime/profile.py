"""How much a device's largest step takes, measured before the KV cache is made: what it leaves is the cache's."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..attention import choose_backend
from ..attention.backend import Layout, Pass
from ..spec import Decoder
from ..types import GenerationParams
from .adjust import SamplingRow
from .device import free_memory
from .kv_memory import Load


class DeviceMemory(Protocol):
    """What can be asked of a device that counts what it gives out."""

    def free(self) -> int:
        """Bytes that are free now."""
        ...

    def peak_of(self, work: Callable[[], None]) -> int:
        """The most bytes that something takes, beyond those that were taken before it."""
        ...


class CudaMemory:
    """That of a CUDA device, as torch's allocator counts it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def free(self) -> int:
        """See `DeviceMemory`."""
        gc.collect()
        torch.cuda.empty_cache()
        return free_memory(self._device)

    def peak_of(self, work: Callable[[], None]) -> int:
        """See `DeviceMemory`."""
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        work()
        torch.cuda.synchronize(self._device)
        return int(torch.cuda.max_memory_allocated(self._device)) - before


def counted_memory(device: torch.device) -> DeviceMemory | None:
    """The memory of a device, if it counts what it gives out."""
    return CudaMemory(device) if device.type == "cuda" else None


class Model(Protocol):
    """What computes."""

    def __call__(self, tokens: Tensor, pass_: Pass, rows: Tensor | None = None) -> Tensor:
        """Logits [rows, vocabulary] in float32."""
        ...


class Draws(Protocol):
    """What draws tokens."""

    def sample(self, logits: Tensor, rows: Sequence[SamplingRow]) -> object:
        """Draw one for each row of logits [rows, vocabulary]."""
        ...


@dataclass(frozen=True, slots=True)
class _Nobody:
    """A row that is drawn for nobody."""

    id: int
    params: GenerationParams = GenerationParams(max_tokens=1)
    prompt: tuple[int, ...] = (0,)
    generated: tuple[int, ...] = ()
    seed: int = 0
    bad_words: tuple[tuple[int, ...], ...] = ()
    allowed: Tensor | None = None


@torch.inference_mode()
def largest_step(
    model: Model, sampler: Draws, spec: Decoder, load: Load, dtype: torch.dtype, device: torch.device
) -> None:
    """Compute a step as large as any may be, and draw a token for as many sequences as may run.

    One sequence has all tokens but one of each other. All of them lie in the same block: what is computed is nonsense,
    and takes the memory that sense would.
    """
    news = _new_tokens(load)
    groups = spec.groups()
    backend = choose_backend(
        device, spec, num_blocks=[1] * len(groups), block_size=load.block_size, dtype=dtype, num_states=1
    )
    positions = torch.cat([torch.arange(new, device=device) for new in news])
    layout = Layout(
        tokens=torch.zeros(len(positions), dtype=torch.int64, device=device),
        positions=positions,
        slot_mapping=[positions % load.block_size for _ in groups],
        block_tables=[[_zeros(-(-new // load.block_size), device) for new in news] for _ in groups],
        query_lens=news,
        seq_lens=news,
        state_slots=[0] * len(news),
    )
    rows = torch.tensor(news, device=device).cumsum(0) - 1
    logits = model(layout.tokens, backend.plan(layout), rows)
    sampler.sample(logits, [_Nobody(number) for number in range(len(news))])


def _new_tokens(load: Load) -> list[int]:
    """How many tokens each sequence of the largest step has."""
    sequences = min(load.sequences, load.chunk)
    return [load.chunk - sequences + 1, *[1] * (sequences - 1)]


def _zeros(count: int, device: torch.device) -> Tensor:
    return torch.zeros(count, dtype=torch.int64, device=device)
