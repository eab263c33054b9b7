"""What each program of the attention kernels does in a step, worked out on the host from lengths alone.

A sequence's queries are cut into tiles. Where its queries are few and the keys that they see are many, those are split
among programs. How a sequence is cut and split follows from its own lengths only, so that what it is given has the same
bits whatever else is in the step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

SPLIT = 256
"""Keys of a part are a multiple of this many: enough that merging them costs little beside reading them."""
MOST_PARTS = 64
"""Of one query's keys: with the KV heads they keep every processor of a GPU busy for a sequence that is alone."""
MOST_PARTS_OF_TILES = 16
"""Of all tiles of one sequence together, where it has several new tokens."""
SPLIT_OF_TILES = 1024
"""The least keys of a part of such a tile."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Some sequences of a step, in their order."""

    table: Numbers
    """where each one's block table begins, among all tables"""
    token: Numbers
    """the first of its tokens, among those of the step"""
    new: Numbers
    """how many tokens it has in the step"""
    length: Numbers
    """how many it has in the cache when the step is done"""


@dataclass(frozen=True, slots=True)
class Items:
    """See `kernels.attention.Work`."""

    items: NDArray[np.int32]
    merges: NDArray[np.int32]
    num_partials: int


def cut(sequences: Sequences, queries: int, window: int | None) -> Items:
    """The work for tiles of at most `queries` queries."""
    tiles = -(-sequences.new // queries)
    owner, number = _each(tiles)
    first = number * queries
    count = np.minimum(sequences.new[owner] - first, queries)
    position = (sequences.length - sequences.new)[owner] + first
    stop = position + count
    start = np.zeros_like(stop) if window is None else np.maximum(position - window + 1, 0)
    size = _part_size(stop - start, tiles[owner], single=queries == 1)
    before = start // size
    parts = np.maximum(-(-stop // size) - before, 1)
    tile, part = _each(parts)
    begin = (before[tile] + part) * size[tile]
    split = parts > 1
    partial = np.cumsum(split[tile]) - 1
    columns = (
        sequences.table[owner][tile],
        (sequences.token[owner] + first)[tile],
        count[tile],
        position[tile],
        np.maximum(start[tile], begin),
        np.minimum(stop[tile], begin + size[tile]),
        np.where(split[tile], partial, -1),
        np.full_like(tile, len(tile)),
    )
    places = np.cumsum(np.where(split, parts, 0)) - parts
    merges = ((sequences.token[owner] + first)[split], count[split], places[split], parts[split])
    # Those with the most keys begin first, so that none is left over at the end.
    order = np.argsort(columns[4] - columns[5], kind="stable")
    return Items(
        np.stack(columns, 1)[order].astype(np.int32), np.stack(merges, 1).astype(np.int32), int(parts[split].sum())
    )


def most_parts(longest: int, window: int | None) -> int:
    """The most parts that the keys of one query are split into, if its sequence is at most so long."""
    seen = longest if window is None else min(longest, window)
    # A window may begin and end within a part.
    return min(-(-seen // SPLIT), MOST_PARTS) + (window is not None)


def _part_size(seen: Numbers, tiles: Numbers, *, single: bool) -> Numbers:
    """How many keys make a part of a tile that sees so many, of a sequence that has so many tiles."""
    most = MOST_PARTS if single else MOST_PARTS_OF_TILES // tiles
    least = SPLIT if single else SPLIT_OF_TILES
    size = np.maximum(-(-seen // np.maximum(most, 1)), least)
    # One that is not split is as large as no sequence is.
    return np.where(np.less(most, 2), 2**30, -(-size // SPLIT) * SPLIT)


def _each(counts: Numbers) -> tuple[Numbers, Numbers]:
    """For each of `counts` things of each owner: whose it is, and which of its own."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
