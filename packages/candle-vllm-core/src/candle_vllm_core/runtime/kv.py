"""Who holds what in the KV cache: blocks in every group of layers, and recurrent states. No torch here.

Layers that keep the same tokens of a sequence are a group (`spec.Group`): they share one block table per request, and
have a pool of blocks to themselves. Where they have a window, a request gives blocks back as they slide out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .blocks import BlockPool, block_key
from .request import Request

FREED = -1
"""Stands in a block table for a block that slid out of the window; no later token sees what was in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KVSizes:
    """How large each part of the cache is."""

    block_size: int
    windows: tuple[int | None, ...]
    """Of each group of layers."""
    num_blocks: tuple[int, ...]
    """Of each group of layers."""
    num_states: int = 0
    """Sequences that can have a recurrent state at once; 0 if the model has none."""

    def longest(self, chunk: int) -> int | None:
        """The longest sequence that fits if it is computed in steps of up to `chunk` tokens; None: any fits."""
        slots = [(window, count * self.block_size) for window, count in zip(self.windows, self.num_blocks, strict=True)]
        limits = [held for window, held in slots if window is None or held < window + chunk + self.block_size]
        return min(limits, default=None)


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of a request that is in the cache already."""

    num_tokens: int
    tables: list[list[int]]
    """For each group, the blocks of these tokens that a later token can still see; the others are `FREED`."""


class KVBlocks:
    """Gives requests their blocks and states and takes them back; shares blocks of those that begin alike."""

    def __init__(self, sizes: KVSizes, *, prefix_cache: bool = True) -> None:
        """Everything is free. A model with recurrent states has no prefix cache: a state is only of whole sequences."""
        self.block_size = sizes.block_size
        self._prefix_cache = prefix_cache and not sizes.num_states
        self._groups = [
            _Group(window, count, sizes.block_size)
            for window, count in zip(sizes.windows, sizes.num_blocks, strict=True)
        ]
        self._has_states = sizes.num_states > 0
        self._free_states = list(range(sizes.num_states))

    @property
    def num_blocks(self) -> int:
        """Blocks of all groups."""
        return sum(group.pool.num_blocks for group in self._groups)

    @property
    def num_used(self) -> int:
        """Blocks that some request holds, in all groups."""
        return sum(group.pool.num_used for group in self._groups)

    @property
    def num_cached(self) -> int:
        """Blocks that no request holds but whose content may be given out again, in all groups."""
        return sum(group.pool.num_cached for group in self._groups)

    def match(self, request: Request) -> Prefix:
        """The longest beginning of a request that is there, in whole blocks; nothing is taken.

        The last token is never part of it: it must be computed to draw the next one.
        """
        keys = self._keys(request, (request.num_tokens - 1) // self.block_size) if self._prefix_cache else []
        keys = keys[: self._num_matching(keys)]
        return Prefix(len(keys) * self.block_size, [group.cached(keys) for group in self._groups])

    def _num_matching(self, keys: Sequence[bytes]) -> int:
        """How many blocks of a beginning are there, in every group at least those that the token after them sees."""
        whole = [group for group in self._groups if group.window is None]
        sliding = [group for group in self._groups if group.window is not None]
        count = min((group.first_missing(keys, len(keys)) for group in whole), default=len(keys))
        while (fewer := min((group.first_missing(keys, count) for group in sliding), default=count)) < count:
            count = fewer
        return count

    def admit(self, request: Request, prefix: Prefix, chunk: int | None) -> bool:
        """Let a request start after its prefix, if all of its tokens and one more find room; else nothing is taken.

        `chunk` is the most tokens of one step. It gets all blocks of its tokens where they stay, and none ahead where
        they slide.
        """
        length = request.num_tokens
        if self._has_states and not self._free_states:
            return False
        if not all(g.has_room(table, length + 1, chunk) for g, table in zip(self._groups, prefix.tables, strict=True)):
            return False
        for group, table in zip(self._groups, prefix.tables, strict=True):
            group.pool.share(_held(table))
            table += group.pool.allocate(group.num_missing(table, length) if group.window is None else 0)
        request.block_tables, request.num_computed = prefix.tables, prefix.num_tokens
        request.state_slot = self._free_states.pop() if self._has_states else None
        return True

    def extend(self, request: Request, stop: int) -> bool:
        """Ready a running request's blocks for computing its tokens up to `stop`; False if too few are free.

        Blocks that have slid out of its windows are given back either way.
        """
        parts = list(zip(self._groups, request.block_tables, strict=True))
        for group, table in parts:
            group.slide(table, request.num_computed)
        missing = [group.num_missing(table, stop) for group, table in parts]
        if any(count > group.pool.num_free for (group, _), count in zip(parts, missing, strict=True)):
            return False
        for (group, table), count in zip(parts, missing, strict=True):
            table += group.pool.allocate(count)
        return True

    def register(self, request: Request, start: int, stop: int) -> None:
        """Note that tokens `start` to `stop` were computed: the blocks they filled may be shared from now on."""
        if not self._prefix_cache:
            return
        keys = self._keys(request, stop // self.block_size)
        for group, table in zip(self._groups, request.block_tables, strict=True):
            for index in range(start // self.block_size, stop // self.block_size):
                group.pool.register(table[index], keys[index])

    def release(self, request: Request) -> None:
        """Take everything back that a request holds; a waiting one holds nothing."""
        if request.block_tables:
            for group, table in zip(self._groups, request.block_tables, strict=True):
                group.pool.release(_held(table))
        if request.state_slot is not None:
            self._free_states.append(request.state_slot)
        request.block_tables, request.num_computed, request.state_slot = [], 0, None

    def _keys(self, request: Request, count: int) -> Sequence[bytes]:
        """The keys of a request's first `count` blocks."""
        keys, size = request.block_keys, self.block_size
        for index in range(len(keys), count):
            parent = keys[-1] if keys else b""
            keys.append(block_key(parent, request.token_slice(index * size, (index + 1) * size)))
        return keys[:count]

    def check(self) -> None:
        """Raise RuntimeError if the books contradict each other; for tests and for an idle engine."""
        for group in self._groups:
            group.pool.check()
        if len(set(self._free_states)) != len(self._free_states):
            raise RuntimeError(f"a recurrent state was given back twice: {sorted(self._free_states)}")


class _Group:
    """The blocks of the layers with one window, or of those without."""

    def __init__(self, window: int | None, num_blocks: int, block_size: int) -> None:
        self.window, self._block_size = window, block_size
        self.pool = BlockPool(num_blocks)

    def first_seen(self, position: int) -> int:
        """The first block that the token at a position sees; later tokens see none before it either."""
        return 0 if self.window is None else max(position - self.window + 1, 0) // self._block_size

    def first_missing(self, keys: Sequence[bytes], count: int) -> int:
        """The first of the blocks seen by the token after `count` blocks that is not there; `count` if all are."""
        seen = range(self.first_seen(count * self._block_size), count)
        return next((index for index in seen if self.pool.find(keys[index]) is None), count)

    def cached(self, keys: Sequence[bytes]) -> list[int]:
        """The table of blocks with these keys, as far as the token after them sees them; those are there."""
        first = self.first_seen(len(keys) * self._block_size)
        found = [self.pool.find(key) for key in keys[first:]]
        return [FREED] * first + [block for block in found if block is not None]

    def num_missing(self, table: Sequence[int], num_tokens: int) -> int:
        """How many blocks a table lacks for so many tokens."""
        return max(-(-num_tokens // self._block_size) - len(table), 0)

    def has_room(self, table: Sequence[int], num_tokens: int, chunk: int | None) -> bool:
        """Whether a sequence that begins with a cached table can be computed up to `num_tokens` with what is free."""
        shared = _held(table)
        needed = len(shared) + self.num_missing(table, num_tokens)
        if self.window is not None and chunk is not None:
            needed = min(needed, self._most_held(self.window, chunk))
        return needed - len(shared) <= self.pool.num_free_without(shared)

    def _most_held(self, window: int, chunk: int) -> int:
        """The most blocks that the tokens of a step and all that they see can lie in, wherever the first one begins."""
        return (window + chunk - 3) // self._block_size + 2

    def slide(self, table: list[int], position: int) -> None:
        """Give back the blocks that no token from a position on can see."""
        first = last = min(self.first_seen(position), len(table))
        while first > 0 and table[first - 1] != FREED:
            first -= 1
        self.pool.release(table[first:last])
        table[first:last] = [FREED] * (last - first)


def _held(table: Sequence[int]) -> list[int]:
    """The blocks of a table that were not given back."""
    return [block for block in table if block != FREED]
