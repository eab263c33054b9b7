"""The host's memory for preempted requests' keys and values, and the copies between it and the cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..attention.cache import KVCache
from ..spec import Group
from .swap import Move


class SwapMemory:
    """The host's blocks; their memory is taken when something is moved first, for mostly nothing ever is."""

    def __init__(self, cache: KVCache, groups: Sequence[Group], num_blocks: int) -> None:
        """`num_blocks` of each group."""
        self._cache, self._groups, self._num_blocks = cache, groups, num_blocks
        self._copied: dict[int, list[tuple[Tensor, Tensor]]] = {}
        """By layer what is copied: blocks of the cache, and of the host."""

    @torch.inference_mode()
    def move(self, moves: Sequence[Move]) -> None:
        """Copy blocks, in order, after what the device computes already and before what it is given next."""
        if not self._copied:
            self._copied = {layer: list(map(self._paired, self._kept(layer))) for layer in self._cache.layers}
        for move in moves:
            for group, pairs in zip(self._groups, move.pairs, strict=True):
                for layer in group.layers:
                    for blocks, host in self._copied[layer]:
                        for block, place in pairs:
                            _copy(blocks[block], host[place], back=move.back)

    def _kept(self, layer: int) -> list[Tensor]:
        """What the cache keeps of a layer, each [slots, ...]."""
        scales = self._cache.scales.get(layer)
        return [self._cache.layers[layer], *([] if scales is None else [scales])]

    def _paired(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """[blocks, block_size, ...] of the cache, and as many blocks as the host has."""
        blocks = slots.view(-1, self._cache.block_size, *slots.shape[1:])
        shape = (self._num_blocks, *blocks.shape[1:])
        return blocks, torch.empty(shape, dtype=slots.dtype, pin_memory=slots.is_cuda)


def _copy(block: Tensor, host: Tensor, *, back: bool) -> None:
    """One way or the other; the host does not wait for it."""
    target, source = (block, host) if back else (host, block)
    target.copy_(source, non_blocking=True)
