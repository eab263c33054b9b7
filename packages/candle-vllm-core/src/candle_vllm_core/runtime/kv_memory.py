"""How the memory for keys and values is divided among groups of layers. No torch here."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import ConfigError
from ..spec import Attention, Decoder, DeltaNet, LatentAttention
from .kv import KVSizes

MEMORY_ITEMSIZE = 4
"""Bytes of each number of a delta-net's memory: it is kept in float32, for the roundings of all tokens add up in it."""
SCALE_ITEMSIZE = 4
"""Bytes of the scale of each key and each value of a cache in fp8."""


@dataclass(frozen=True, slots=True)
class KVNeeds:
    """What a model keeps of its sequences, in bytes."""

    windows: tuple[int | None, ...]
    """Of each group of layers."""
    token_bytes: tuple[int, ...]
    """Of one token in each group of layers."""
    state_bytes: int
    """Of one sequence's recurrent states."""

    @classmethod
    def of(cls, spec: Decoder, itemsize: int, *, fp8: bool = False) -> KVNeeds:
        """What a model keeps in numbers of `itemsize` bytes; with `fp8`, those of keys and values take one."""
        groups, attentions = spec.groups(), spec.attentions()
        return cls(
            windows=tuple(group.window for group in groups),
            token_bytes=tuple(
                sum(_token_bytes(attentions[layer], itemsize, fp8) for layer in group.layers) for group in groups
            ),
            state_bytes=sum(_state_bytes(a, itemsize) for a in spec.attentions() if isinstance(a, DeltaNet)),
        )

    @property
    def bytes_per_token(self) -> int:
        """Of one token while every layer can reach it."""
        return sum(self.token_bytes)

    @property
    def bytes_per_token_beyond_window(self) -> int:
        """What one more token takes when all windows are full."""
        each = zip(self.windows, self.token_bytes, strict=True)
        return sum(token_bytes for window, token_bytes in each if window is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What an engine does with a model at most."""

    sequences: int
    """That run at once."""
    length: int
    """Of the longest sequence, in tokens."""
    chunk: int
    """The most tokens that one step computes."""
    block_size: int


def enough(needs: KVNeeds, load: Load) -> int:
    """The bytes that as many sequences as may run take if all are as long as may be."""
    blocks = load.sequences * _blocks(load.length, load)
    return load.sequences * needs.state_bytes + _bytes(blocks, needs, load)


def least(needs: KVNeeds, load: Load) -> int:
    """The bytes that a cache takes in which one sequence of two tokens can run."""
    states = load.sequences * needs.state_bytes
    return states + (_bytes(_blocks(2, load), needs, load) if needs.windows else 0)


def taken(sizes: KVSizes, needs: KVNeeds) -> int:
    """The bytes that a cache of these sizes takes."""
    each = zip(sizes.num_blocks, needs.token_bytes, strict=True)
    blocks = sum(count * sizes.block_size * token_bytes for count, token_bytes in each)
    return blocks + sizes.num_states * needs.state_bytes


def sequences_at_once(sizes: KVSizes, load: Load) -> int:
    """How many sequences as long as may be can run at once."""
    fits = [load.sequences]
    for window, count in zip(sizes.windows, sizes.num_blocks, strict=True):
        if window is None:
            fits.append(count // _blocks(load.length, load))
        elif count < _used(window, load):
            fits.append(max(count - _blocks(load.chunk, load), 0) // _blocks(window + 2 * load.block_size, load))
    return min(fits)


class HostRoom(NamedTuple):
    """What the host's memory has room for."""

    blocks: int
    """Of each group."""
    states: int


def host_room(memory: int, needs: KVNeeds, sizes: KVSizes) -> HostRoom:
    """What fits into so many bytes of the host's memory; no more than the cache has.

    Recurrent states get at most half of it where there are blocks too: a sequence that was preempted needs both.
    """
    for_states = memory // 2 if needs.bytes_per_token else memory
    states = min(for_states // needs.state_bytes, sizes.num_states) if needs.state_bytes else 0
    left = memory - states * needs.state_bytes
    fitting = left // max(sizes.block_size * needs.bytes_per_token, 1)
    return HostRoom(min(fitting, max(sizes.num_blocks, default=0)), states)


def divide(memory: int, needs: KVNeeds, load: Load) -> KVSizes:
    """The largest cache that fits into so many bytes.

    Groups without a window get the same number of blocks; one with a window gets no more than that, nor than it needs.

    Raises:
        ConfigError: a sequence of two tokens does not fit.
    """
    num_states = load.sequences if needs.state_bytes else 0
    left = memory - num_states * needs.state_bytes
    block_bytes = load.block_size * needs.bytes_per_token
    most = max(_most(needs, load), left // max(load.block_size * needs.bytes_per_token_beyond_window, 1))
    blocks = bisect_right(range(most + 1), left, key=lambda count: _bytes(count, needs, load)) - 1
    if left < 0 or (needs.windows and blocks * load.block_size < 2):
        raise ConfigError(
            f"the KV cache gets {memory} bytes and one block of {load.block_size} tokens takes {block_bytes}"
            + (f" beside {num_states} recurrent states of {needs.state_bytes}" if num_states else "")
            + "; give it more with kv_cache_memory or kv_fraction"
            + (", or lower max_batch_size" if num_states else ""),
            "kv_cache_memory",
        )
    return KVSizes(
        block_size=load.block_size,
        windows=needs.windows,
        num_blocks=tuple(_share(window, blocks, load) for window in needs.windows),
        num_states=num_states,
    )


def _token_bytes(attention: Attention | LatentAttention | DeltaNet, itemsize: int, fp8: bool) -> int:
    if isinstance(attention, DeltaNet):
        return 0
    numbers = attention.kv_numbers_per_token()
    return numbers + numbers // attention.key_dim * SCALE_ITEMSIZE if fp8 else numbers * itemsize


def _state_bytes(attention: DeltaNet, itemsize: int) -> int:
    memory = attention.value_heads * attention.key_dim * attention.value_dim
    return memory * MEMORY_ITEMSIZE + (attention.state_numbers() - memory) * itemsize


def _most(needs: KVNeeds, load: Load) -> int:
    """The most blocks that a group with a window can use."""
    return max((_used(window, load) for window in needs.windows if window is not None), default=0)


def _share(window: int | None, blocks: int, load: Load) -> int:
    """How many blocks a group gets where one without a window gets `blocks`."""
    return blocks if window is None else min(blocks, _used(window, load))


def _used(window: int, load: Load) -> int:
    """Blocks for every sequence's window, which begins and ends within a block, and for the tokens of one step."""
    return _blocks(load.sequences * (window + 2 * load.block_size) + load.chunk, load)


def _bytes(blocks: int, needs: KVNeeds, load: Load) -> int:
    each = zip(needs.windows, needs.token_bytes, strict=True)
    return sum(_share(window, blocks, load) * load.block_size * token_bytes for window, token_bytes in each)


def _blocks(num_tokens: int, load: Load) -> int:
    return -(-num_tokens // load.block_size)
