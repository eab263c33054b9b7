"""The KV cache: one tensor of slots for each layer that keeps tokens, one of states for each that is recurrent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import DeviceError
from ..spec import Attention, Decoder, DeltaNet, LatentAttention


class KVCache:
    """What layers keep of all sequences; which slots are whose is the block tables' affair.

    A slot is block * block_size + offset, so the tokens of consecutive blocks lie side by side. A slot is not
    initialised until it is written or cleared.

    Raises:
        DeviceError: the device has not so much memory.
    """

    def __init__(
        self,
        spec: Decoder,
        *,
        num_blocks: Sequence[int],
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
        num_states: int = 0,
        fp8: bool = False,
    ) -> None:
        """With `fp8` keys and values are stored in e4m3, each head of each slot with a scale, whatever `dtype` is."""
        self.block_size, self.dtype, self.device = block_size, dtype, device
        keeping = {layer: a for layer, a in enumerate(spec.attentions()) if not isinstance(a, DeltaNet)}
        self.layers: dict[int, Tensor] = {}
        """by layer [slots, 2, kv_heads, head_dim]; [slots, 1, 1, key_dim] where the value is the key's beginning"""
        self.scales: dict[int, Tensor] = {}
        """by layer [slots, sides, kv_heads] float32: what a number of a cache in fp8 is multiplied by"""
        for group, count in zip(spec.groups(), num_blocks, strict=True):
            for layer in group.layers:
                shape = (count * block_size, *_slot_shape(keeping[layer]))
                self.layers[layer] = _empty(shape, torch.float8_e4m3fn if fp8 else dtype, device)
                if fp8:
                    self.scales[layer] = _empty(shape[:3], torch.float32, device)
        self._copied = torch.empty(0, dtype=dtype, device=device)
        self.states = {
            layer: _states(attention, num_states, dtype, device)
            for layer, attention in enumerate(spec.attentions())
            if isinstance(attention, DeltaNet)
        }
        """by layer the convolution's [states, conv_dim, kernel - 1] and the memory [states, value_heads, key_dim,
        value_dim], which is float32"""

    @property
    def num_bytes(self) -> int:
        """The memory that the cache takes."""
        states = (tensor for pair in self.states.values() for tensor in pair)
        return sum(tensor.nbytes for tensor in (*self.layers.values(), *self.scales.values(), *states))

    def write(self, layer: int, slot_mapping: Tensor, k: Tensor, v: Tensor | None) -> None:
        """Put k [tokens, kv_heads, key_dim] and v, unless it is the key's beginning, into the slots [tokens]."""
        self.layers[layer].index_copy_(0, slot_mapping, k[:, None] if v is None else torch.stack((k, v), 1))

    def clear(self, layer: int, slots: Tensor) -> None:
        """Fill slots [tokens] that are read before they are written, with anything finite."""
        self.layers[layer].index_fill_(0, slots, 0)

    def clear_state(self, slot: int) -> None:
        """Let a recurrent state be that of a sequence that has not begun, in all layers."""
        for pair in self.states.values():
            for tensor in pair:
                tensor[slot].zero_()

    def slots(self, layer: int, start: int, length: int) -> tuple[Tensor, Tensor]:
        """Keys [1, kv_heads, length, key_dim] and values [.., key_dim] of neighbouring slots, as views.

        Where the value is the key's beginning, it is given with what follows it.
        """
        return _sides(self.layers[layer].narrow(0, start, length)[None])

    def blocks(self, layer: int, blocks: Tensor, sequences: int, skipped: int, length: int) -> tuple[Tensor, Tensor]:
        """As `slots`, of the blocks [sequences * blocks] in any order, copied; the next copy takes their place.

        From each sequence's blocks `length` tokens are taken after the first `skipped`.
        """
        slots = self.layers[layer]
        whole = slots.view(slots.shape[0] // self.block_size, -1)
        found = torch.index_select(whole, 0, blocks, out=self._room(len(blocks), whole.shape[1]))
        return _sides(found.view(sequences, -1, *slots.shape[1:]).narrow(1, skipped, length))

    def _room(self, rows: int, columns: int) -> Tensor:
        """A place for a copy, the same for all; it grows with the longest."""
        if self._copied.numel() < rows * columns:
            self._copied = torch.empty(rows * columns, dtype=self.dtype, device=self.device)
        return self._copied[: rows * columns].view(rows, columns)


def _sides(slots: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values [sequences, kv_heads, tokens, dim] of slots [sequences, tokens, sides, kv_heads, dim]."""
    sides = slots.permute(2, 0, 3, 1, 4)
    return sides[0], sides[-1]


def _slot_shape(attention: Attention | LatentAttention) -> tuple[int, int, int]:
    sides = 2 if isinstance(attention, Attention) else 1
    return sides, attention.kv_heads, attention.key_dim


def _states(attention: DeltaNet, count: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    a = attention
    conv = _empty((count, a.conv_dim, a.kernel - 1), dtype, device)
    return conv, _empty((count, a.value_heads, a.key_dim, a.value_dim), torch.float32, device)


def _empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    try:
        return torch.empty(shape, dtype=dtype, device=device)
    except RuntimeError as error:
        needed = torch.Size(shape).numel() * dtype.itemsize
        raise DeviceError(
            f"the KV cache takes {needed:,} bytes for each layer, which {device} does not have; "
            "lower kv_cache_memory or kv_fraction",
            str(device),
        ) from error
