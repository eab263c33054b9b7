"""What preempted requests have in the host's memory, so that it need not be computed again. No torch here.

A block of the cache goes to a host block and comes back to any free block, and so does a recurrent state: `KVBlocks`
says which, in `Move`s, and the runner copies before it computes the next step. Moves are made in their order, so a
block may be given to somebody else as soon as its move out is noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .request import Request


class Pair(NamedTuple):
    """A block of the cache and one of the host; or places of recurrent states."""

    block: int
    host: int


class Move(NamedTuple):
    """Blocks of one request that change places, and its recurrent state if it has one."""

    request: Request
    back: bool
    """Whether they come back from the host."""
    pairs: Sequence[Sequence[Pair]]
    """For each group of layers."""
    state: Pair | None = None


@dataclass(frozen=True, slots=True)
class Swapped:
    """What a preempted request has in the host's memory."""

    num_tokens: int
    """That were computed."""
    tables: Sequence[Sequence[int | None]]
    """For each group its host blocks in order; None where a block had slid out of the window."""
    state: int | None = None
    """Where the host keeps its recurrent state, if it has one."""


class Taken(NamedTuple):
    """What was given out."""

    tables: list[list[int]]
    """For each group."""
    state: int | None


class HostBlocks:
    """Gives out the host's blocks and takes them back; each group of layers has as many. Recurrent states likewise."""

    def __init__(self, groups: int, count: int, states: int = 0) -> None:
        """`count` blocks in each group, and room for so many states."""
        self._count, self._states = count, states
        self._free = [list(range(count)) for _ in range(groups)]
        self._free_states = list(range(states))

    @property
    def num_blocks(self) -> int:
        """Blocks of all groups."""
        return self._count * len(self._free)

    @property
    def num_used(self) -> int:
        """Blocks of all groups that are given out."""
        return self.num_blocks - sum(map(len, self._free))

    def take(self, counts: Sequence[int], *, state: bool = False) -> Taken | None:
        """So many of each group, and room for a state if there is one; None, and nothing is taken, if some lacks."""
        lacks = any(count > len(free) for count, free in zip(counts, self._free, strict=True))
        if lacks or (state and not self._free_states):
            return None
        tables = [[free.pop() for _ in range(count)] for count, free in zip(counts, self._free, strict=True)]
        return Taken(tables, self._free_states.pop() if state else None)

    def give(self, swapped: Swapped) -> None:
        """Take back what a request had."""
        for free, table in zip(self._free, swapped.tables, strict=True):
            free += [host for host in table if host is not None]
        if swapped.state is not None:
            self._free_states.append(swapped.state)

    def check(self, holders: Sequence[Swapped]) -> None:
        """Raise RuntimeError if a block is neither free nor held by exactly one of those that are swapped."""
        for index, free in enumerate(self._free):
            held = [host for swapped in holders for host in swapped.tables[index] if host is not None]
            if sorted(free + held) != list(range(self._count)):
                raise RuntimeError(f"host blocks of group {index} are lost, or given out twice")
        states = [swapped.state for swapped in holders if swapped.state is not None]
        if sorted(self._free_states + states) != list(range(self._states)):
            raise RuntimeError("the host's recurrent states are lost, or given out twice")
