"""Who holds what in the KV cache: blocks in every group of layers, and recurrent states. No torch here.

Layers that keep the same tokens of a sequence are a group (`spec.Group`): they share one block table per request, and
have a pool of blocks to themselves. Where they have a window, a request gives blocks back as they slide out of it.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from .blocks import BlockPool, block_key, root_key
from .request import Request
from .swap import HostBlocks, Move, Pair, Swapped

FREED = -1
"""Stands in a block table for a block that slid out of the window; no later token sees what was in it."""
AWAY = -2
"""Stands in the table of a prefix for a block that is in the host's memory."""


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
    grows: bool = False
    """Whether more of it will be there once the step that is being made was computed."""


class KVBlocks:
    """Gives requests their blocks and states and takes them back; shares blocks of those that begin alike."""

    def __init__(
        self,
        sizes: KVSizes,
        *,
        prefix_cache: bool = True,
        fingerprint: bytes = b"",
        host_blocks: int = 0,
        host_states: int = 0,
    ) -> None:
        """Everything is free. A model with recurrent states has no prefix cache: a state is only of whole sequences.

        `fingerprint` stands for the model: blocks of one with another fingerprint are never found. So many
        `host_blocks` of each group, and `host_states`, are for those that were preempted.
        """
        self.block_size = sizes.block_size
        self.prefix_cache = prefix_cache and not sizes.num_states
        """Whether requests that begin alike share blocks."""
        self._sizes, self._fingerprint = sizes, fingerprint
        self._has_states = sizes.num_states > 0
        self._slides = any(window is not None for window in sizes.windows)
        self._host_blocks, self._host_states = host_blocks, host_states
        self.reset()

    def reset(self) -> None:
        """Make the books anew: everything is free, nothing is cached. Whoever held something must be gone."""
        sizes = self._sizes
        self._groups = [
            _Group(window, count, sizes.block_size)
            for window, count in zip(sizes.windows, sizes.num_blocks, strict=True)
        ]
        self._free_states = list(range(sizes.num_states))
        self._host = HostBlocks(len(self._groups), self._host_blocks, self._host_states)
        self._moves: list[Move] = []

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

    @property
    def num_host_blocks(self) -> int:
        """Blocks of all groups that the host's memory has room for."""
        return self._host.num_blocks

    @property
    def num_host_blocks_used(self) -> int:
        """Those of them that keep something of a preempted request."""
        return self._host.num_used

    def match(self, request: Request, coming: Container[bytes] = ()) -> Prefix:
        """The longest beginning of a request that is there, in whole blocks; nothing is taken.

        The last token is never part of it: it must be computed to draw the next one. `coming`: keys of blocks that
        the step that is being made will fill.
        """
        keys = self._keys(request, request.num_reusable // self.block_size) if self.prefix_cache else []
        count = self._num_matching(keys, ())
        grows = bool(coming) and self._num_matching(keys, coming) > count
        if not grows and request.swapped is not None and request.swapped.num_tokens > count * self.block_size:
            return self._swapped_prefix(request, request.swapped)
        keys = keys[:count]
        return Prefix(count * self.block_size, [group.cached(keys) for group in self._groups], grows)

    def _swapped_prefix(self, request: Request, swapped: Swapped) -> Prefix:
        """All that a preempted request had computed; what is still in the cache need not come back."""
        keys = self._keys(request, swapped.num_tokens // self.block_size) if self.prefix_cache else ()
        tables = [
            [FREED if host is None else group.find(keys, index) for index, host in enumerate(hosts)]
            for group, hosts in zip(self._groups, swapped.tables, strict=True)
        ]
        return Prefix(swapped.num_tokens, tables)

    def _num_matching(self, keys: Sequence[bytes], coming: Container[bytes]) -> int:
        """How many blocks of a beginning are there, in every group at least those that the token after them sees."""
        whole = [group for group in self._groups if group.window is None]
        sliding = [group for group in self._groups if group.window is not None]
        count = min((group.first_missing(keys, len(keys), coming) for group in whole), default=len(keys))
        while (fewer := min((g.first_missing(keys, count, coming) for g in sliding), default=count)) < count:
            count = fewer
        return count

    def needs(self, request: Request, prefix: Prefix, chunk: int | None) -> list[int]:
        """How many of each group's free blocks a request takes to start after its prefix.

        It starts if all of its tokens and one more, if it draws any, find room. `chunk` is the most tokens of one step.
        """
        length = request.num_needed
        return [group.needs(table, length, chunk) for group, table in zip(self._groups, prefix.tables, strict=True)]

    def admit(self, request: Request, prefix: Prefix, chunk: int | None, reserved: Sequence[int] | None = None) -> bool:
        """Let a request start after its prefix if what it `needs` is free; else nothing is taken.

        It gets all blocks of its tokens where they stay, and none ahead where they slide. `reserved` blocks of each
        group are kept for others.
        """
        if self._has_states and not self._free_states:
            return False
        kept = reserved or [0] * len(self._groups)
        needs = self.needs(request, prefix, chunk)
        if any(n > g.pool.num_free - k for n, g, k in zip(needs, self._groups, kept, strict=True)):
            return False
        for group, table in zip(self._groups, prefix.tables, strict=True):
            group.pool.share(_held(table))
        request.state_slot = self._free_states.pop() if self._has_states else None
        self._bring_back(request, prefix)
        for group, table in zip(self._groups, prefix.tables, strict=True):
            missing = group.num_missing(table, request.num_tokens) if group.window is None else 0
            table += group.pool.allocate(missing)
        request.block_tables = [array("q", table) for table in prefix.tables]
        request.num_computed = prefix.num_tokens
        return True

    def _bring_back(self, request: Request, prefix: Prefix) -> None:
        """Let what a request needs of its host blocks come back; the others are given back, for it goes on now."""
        swapped = request.swapped
        if swapped is None:
            return
        pairs = []
        for group, table, hosts in zip(self._groups, prefix.tables, swapped.tables, strict=True):
            places = [place for place, block in enumerate(table) if block == AWAY]
            blocks = group.pool.allocate(len(places))
            for place, block in zip(places, blocks, strict=True):
                table[place] = block
            pairs.append([Pair(table[place], host) for place in places if (host := hosts[place]) is not None])
        state = _pair(request.state_slot, swapped.state)
        if any(pairs) or state is not None:
            self._moves.append(Move(request, True, pairs, state))
        self.drop_swapped(request)

    def swap_out(self, request: Request) -> bool:
        """Keep what a request has computed in the host's memory, if there is room; it still holds its blocks."""
        full = -(-request.num_computed // self.block_size)
        tables = [table[:full] for table in request.block_tables]
        taken = self._host.take([len(_held(table)) for table in tables], state=self._has_states) if full else None
        if taken is None:
            return False
        pairs = [list(map(Pair, _held(table), hosts)) for table, hosts in zip(tables, taken.tables, strict=True)]
        left = [iter(hosts) for hosts in taken.tables]
        request.swapped = Swapped(
            request.num_computed,
            [
                [None if block == FREED else next(its) for block in table]
                for table, its in zip(tables, left, strict=True)
            ],
            taken.state,
        )
        self._moves.append(Move(request, False, pairs, _pair(request.state_slot, taken.state)))
        return True

    def drop_swapped(self, request: Request) -> None:
        """Take back what a request has in the host's memory."""
        if request.swapped is not None:
            self._host.give(request.swapped)
            request.swapped = None

    def take_moves(self) -> list[Move]:
        """The moves to be made, in order, before anything else is computed."""
        moves, self._moves = self._moves, []
        return moves

    def has_free(self, needs: Sequence[int]) -> bool:
        """Whether each group has so many free blocks."""
        return all(need <= group.pool.num_free for need, group in zip(needs, self._groups, strict=True))

    def extend(self, request: Request, stop: int, *, since: int | None = None) -> bool:
        """Ready a running request's blocks for computing its tokens up to `stop`; False if too few are free.

        Blocks that have slid out of its windows are given back either way. `since`: the first of its tokens that are
        being computed; what they see is kept.
        """
        if stop <= request.num_places:
            return True
        lacks = False
        total = -(-stop // self.block_size)
        for group, table in zip(self._groups, request.block_tables, strict=True):
            if group.window is not None:
                group.slide(table, request.num_computed if since is None else since)
            lacks = lacks or len(table) < total
        if lacks and not self._lengthen(request, total):
            return False
        if not self._slides:
            request.num_places = total * self.block_size
        return True

    def _lengthen(self, request: Request, total: int) -> bool:
        """Bring each table of a request to `total` blocks; False if too few are free."""
        tables = list(zip(self._groups, request.block_tables, strict=True))
        if any(total - len(table) > group.pool.num_free for group, table in tables):
            return False
        for group, table in tables:
            table.extend(group.pool.allocate(total - len(table)))
        return True

    def register(self, request: Request, start: int, stop: int) -> None:
        """Note that tokens `start` to `stop` were computed: the blocks they filled may be shared from now on."""
        first, last = start // self.block_size, stop // self.block_size
        if first == last or not self.prefix_cache:
            return
        keys = self._keys(request, last)
        for group, table in zip(self._groups, request.block_tables, strict=True):
            for index in range(first, last):
                group.pool.register(table[index], keys[index])

    def filled_keys(self, request: Request, start: int, stop: int) -> Sequence[bytes]:
        """The keys of the blocks that are filled when tokens `start` to `stop` are computed, if they are known."""
        first, last = start // self.block_size, min(stop, request.num_tokens) // self.block_size
        return self._keys(request, last)[first:last] if first < last and self.prefix_cache else ()

    def release(self, request: Request) -> None:
        """Take everything back that a request holds; a waiting one holds nothing."""
        if request.block_tables:
            for group, table in zip(self._groups, request.block_tables, strict=True):
                group.pool.release(_held(table))
        if request.state_slot is not None:
            self._free_states.append(request.state_slot)
        request.block_tables, request.num_places = [], 0
        request.num_computed, request.state_slot = 0, None

    def _keys(self, request: Request, count: int) -> Sequence[bytes]:
        """The keys of a request's first `count` blocks."""
        keys, size = request.block_keys, self.block_size
        for index in range(len(keys), count):
            parent = keys[-1] if keys else root_key(self._fingerprint, request.params.cache_salt)
            keys.append(block_key(parent, request.token_slice(index * size, (index + 1) * size)))
        return keys[:count]

    def check(self, holders: Iterable[Request] | None = None, waiting: Iterable[Request] = ()) -> None:
        """Raise RuntimeError if the books contradict each other, or what the requests that run or wait hold; for tests
        and after a fault.
        """
        if holders is not None:
            self._host.check([request.swapped for request in waiting if request.swapped is not None])
        running = list(holders) if holders is not None else None
        for index, group in enumerate(self._groups):
            group.pool.check(None if running is None else [_held(r.block_tables[index]) for r in running])
        slots = self._free_states + [r.state_slot for r in running or () if r.state_slot is not None]
        if len(set(slots)) != len(slots) or (running is not None and len(slots) != self._sizes.num_states):
            raise RuntimeError(f"a recurrent state was given back twice, or never: {sorted(slots)}")


class _Group:
    """The blocks of the layers with one window, or of those without."""

    def __init__(self, window: int | None, num_blocks: int, block_size: int) -> None:
        self.window, self._block_size = window, block_size
        self.pool = BlockPool(num_blocks)

    def first_seen(self, position: int) -> int:
        """The first block that the token at a position sees; later tokens see none before it either."""
        return 0 if self.window is None else max(position - self.window + 1, 0) // self._block_size

    def first_missing(self, keys: Sequence[bytes], count: int, coming: Container[bytes] = ()) -> int:
        """The first of the blocks seen by the token after `count` blocks that is not there; `count` if all are."""
        for index in range(self.first_seen(count * self._block_size), count):
            if self.pool.find(keys[index]) is None and keys[index] not in coming:
                return index
        return count

    def find(self, keys: Sequence[bytes], index: int) -> int:
        """The block with one of these keys, `AWAY` if there is none."""
        found = self.pool.find(keys[index]) if index < len(keys) else None
        return AWAY if found is None else found

    def cached(self, keys: Sequence[bytes]) -> list[int]:
        """The table of blocks with these keys, as far as the token after them sees them; those are there."""
        first = self.first_seen(len(keys) * self._block_size)
        found = [self.pool.find(key) for key in keys[first:]]
        return [FREED] * first + [block for block in found if block is not None]

    def num_missing(self, table: Sequence[int], num_tokens: int) -> int:
        """How many blocks a table lacks for so many tokens."""
        return max(-(-num_tokens // self._block_size) - len(table), 0)

    def needs(self, table: Sequence[int], num_tokens: int, chunk: int | None) -> int:
        """How many free blocks a sequence takes that begins with a cached table, to be computed up to `num_tokens`."""
        shared = _held(table)
        missing = self.num_missing(table, num_tokens) + table.count(AWAY)
        if self.window is not None and chunk is not None:
            missing = min(missing, self._most_held(self.window, chunk) - len(shared))
        return max(missing, 0) + self.pool.count_free(shared)

    def _most_held(self, window: int, chunk: int) -> int:
        """The most blocks that the tokens of a step and all that they see can lie in, wherever the first one begins."""
        return (window + chunk - 3) // self._block_size + 2

    def slide(self, table: array[int], position: int) -> None:
        """Give back the blocks that no token from a position on can see."""
        first = last = min(self.first_seen(position), len(table))
        while first > 0 and table[first - 1] != FREED:
            first -= 1
        if first < last:
            self.pool.release(table[first:last])
            table[first:last] = array("q", [FREED]) * (last - first)


def _pair(slot: int | None, host: int | None) -> Pair | None:
    """Where a recurrent state lies and where the host keeps it, if there is one."""
    return None if slot is None or host is None else Pair(slot, host)


def _held(table: Sequence[int]) -> list[int]:
    """The blocks of a table that were not given back."""
    return [block for block in table if block >= 0]
