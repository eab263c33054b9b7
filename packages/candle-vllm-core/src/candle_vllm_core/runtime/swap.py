"""What preempted requests have in the host's memory, so that it need not be computed again. No torch here.

A block of the cache goes to a host block and comes back to any free block: `KVBlocks` says which, in `Move`s, and the
runner copies before it computes the next step. Moves are made in their order, so a block may be given to somebody else
as soon as its move out is noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .request import Request


class Pair(NamedTuple):
    """A block of the cache and one of the host."""

    block: int
    host: int


class Move(NamedTuple):
    """Blocks of one request that change places."""

    request: Request
    back: bool
    """Whether they come back from the host."""
    pairs: Sequence[Sequence[Pair]]
    """For each group of layers."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """What a preempted request has in the host's memory."""

    num_tokens: int
    """That were computed."""
    tables: Sequence[Sequence[int | None]]
    """For each group its host blocks in order; None where a block had slid out of the window."""


class HostBlocks:
    """Gives out the host's blocks and takes them back; each group of layers has as many."""

    def __init__(self, groups: int, count: int) -> None:
        """`count` blocks in each group."""
        self._count = count
        self._free = [list(range(count)) for _ in range(groups)]

    @property
    def num_blocks(self) -> int:
        """Blocks of all groups."""
        return self._count * len(self._free)

    @property
    def num_used(self) -> int:
        """Blocks of all groups that are given out."""
        return self.num_blocks - sum(map(len, self._free))

    def take(self, counts: Sequence[int]) -> list[list[int]] | None:
        """So many of each group; None, and nothing is taken, if there are too few."""
        if any(count > len(free) for count, free in zip(counts, self._free, strict=True)):
            return None
        return [[free.pop() for _ in range(count)] for count, free in zip(counts, self._free, strict=True)]

    def give(self, tables: Sequence[Sequence[int | None]]) -> None:
        """Take blocks back."""
        for free, table in zip(self._free, tables, strict=True):
            free += [host for host in table if host is not None]

    def check(self, holders: Sequence[Swapped]) -> None:
        """Raise RuntimeError if a block is neither free nor held by exactly one of those that are swapped."""
        for index, free in enumerate(self._free):
            held = [host for swapped in holders for host in swapped.tables[index] if host is not None]
            if sorted(free + held) != list(range(self._count)):
                raise RuntimeError(f"host blocks of group {index} are lost, or given out twice")
