"""The KV cache: for each layer one tensor of slots, a slot being the keys and values of one token."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import DeviceError
from ..spec import Attention, Decoder


class KVCache:
    """Keys and values of all tokens that sequences hold; which slots are whose is the block tables' affair.

    A slot is block * block_size + offset, so the tokens of consecutive blocks lie side by side. What was never written
    is not initialised, and is never read.

    Raises:
        DeviceError: the device has not so much memory.
    """

    def __init__(
        self, spec: Decoder, *, num_blocks: int, block_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.block_size = block_size
        self.num_blocks = num_blocks
        self.layers = [
            _slots(num_blocks * block_size, layer.attention, dtype=dtype, device=device) for layer in spec.layers
        ]
        """for each layer [slots, 2, kv_heads, head_dim]"""

    @property
    def num_bytes(self) -> int:
        """The memory that the cache takes."""
        return sum(layer.nbytes for layer in self.layers)

    def write(self, layer: int, slot_mapping: Tensor, k: Tensor, v: Tensor) -> None:
        """Put k and v [tokens, kv_heads, head_dim] into the slots [tokens]."""
        self.layers[layer].index_copy_(0, slot_mapping, torch.stack((k, v), 1))

    def slots(self, layer: int, start: int, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values [1, kv_heads, length, head_dim] of neighbouring slots, as views."""
        return _sides(self.layers[layer].narrow(0, start, length))

    def blocks(self, layer: int, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [1, kv_heads, blocks * block_size, head_dim] of blocks [blocks] in any order, as copies."""
        slots = self.layers[layer]
        found = slots.view(self.num_blocks, -1).index_select(0, blocks)
        return _sides(found.view(-1, *slots.shape[1:]))


def _slots(count: int, attention: Attention, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    shape = (count, 2, attention.kv_heads, attention.head_dim)
    try:
        return torch.empty(shape, dtype=dtype, device=device)
    except RuntimeError as error:
        needed = count * attention.kv_numbers_per_token() * dtype.itemsize
        raise DeviceError(
            f"the KV cache takes {needed:,} bytes for each layer, which {device} does not have; "
            "lower kv_cache_memory or kv_fraction",
            str(device),
        ) from error


def _sides(slots: Tensor) -> tuple[Tensor, Tensor]:
    k, v = slots.permute(1, 2, 0, 3).unsqueeze(1).unbind(0)
    return k, v
