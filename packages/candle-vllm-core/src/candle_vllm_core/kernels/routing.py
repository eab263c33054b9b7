"""Routing without the host: pairs of a token and one of its experts, sorted by expert and cut into tiles.

Pair p of `experts` [tokens, top_k] is choice p % top_k of token p // top_k. The n_e pairs of each expert e stand one
after the other in the order of their numbers, and begin at a multiple of the tile's height:

    place(p) = height * sum_{e' < e} ceil(n_e' / height) + |{p' < p: e(p') = e}|,  e = e(p)

Shapes depend on the number of tokens alone, so that a CUDA graph can hold it: there are as many tiles as could be
needed, and those that are not have no pairs. Counts are of integers and written where they belong, so the order is the
same each time. Chunks of pairs are counted apart, and each then finds where its own pairs belong from all counts.

experts  [tokens, top_k] int64, below `count`
order    [tiles * height] int32, the pair at each place; what stands where there is none is undefined
tiles    [tiles, 2] int32: an expert, and how many pairs of its own the tile has; of a tile without pairs any number, 0
counts   [chunks, EXPERTS] int32, of each expert in each chunk
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor
from triton import language as tl

from .case import Case

COMPARED = 4096
"""Pairs times experts that are compared at once: as many as registers hold."""
ALONE = 1024
"""Up to so many pairs one program counts and places them all: a second kernel would cost more than it spares."""
MOST_CHUNKS = 64
"""Each program reads the counts of all."""
MOST_EXPERTS = 512


class Sorted(NamedTuple):
    """Pairs sorted by expert; see the module's docstring."""

    order: Tensor
    tiles: Tensor


@triton.jit
def _own(experts, pair, stop, EXPERTS: tl.constexpr):
    """[pairs, EXPERTS]: 1 where a pair is the expert's, 0 elsewhere."""
    expert = tl.load(experts + pair, mask=pair < stop, other=-1).to(tl.int32)
    return (expert[:, None] == tl.arange(0, EXPERTS)[None, :]).to(tl.int32)


@triton.jit
def _histogram(experts, start, stop, EXPERTS: tl.constexpr, STEP: tl.constexpr):
    """[EXPERTS]: how many of the pairs from `start` up to `stop` each expert has."""
    found = tl.zeros((EXPERTS,), tl.int32)
    for at in range(start, stop, STEP):
        found += tl.sum(_own(experts, at + tl.arange(0, STEP), stop, EXPERTS), 0)
    return found


@triton.jit
def _count_kernel(counts, experts, pairs, chunk_pairs, EXPERTS: tl.constexpr, STEP: tl.constexpr):
    """One chunk of pairs."""
    chunk = tl.program_id(0)
    start = chunk * chunk_pairs
    found = _histogram(experts, start, tl.minimum(start + chunk_pairs, pairs), EXPERTS, STEP)
    tl.store(counts + chunk * EXPERTS + tl.arange(0, EXPERTS), found)


@triton.jit
def _sort_kernel(
    order,
    tiles,
    counts,
    experts,
    pairs,
    chunk_pairs,
    num_tiles,
    EXPERTS: tl.constexpr,
    ALONE: tl.constexpr,
    HEIGHT: tl.constexpr,
    STEP: tl.constexpr,
):
    """One chunk of pairs, and its share of the tiles; ALONE: the only one, which counts for itself."""
    chunk, chunks = tl.program_id(0), tl.num_programs(0)
    start = chunk * chunk_pairs
    stop = tl.minimum(start + chunk_pairs, pairs)
    every = tl.arange(0, EXPERTS)
    before = tl.zeros((EXPERTS,), tl.int32)
    if ALONE:
        total = _histogram(experts, start, stop, EXPERTS, STEP)
    else:
        total = tl.zeros((EXPERTS,), tl.int32)
        for number in range(0, chunks):
            its = tl.load(counts + number * EXPERTS + every)
            total += its
            before += tl.where(number < chunk, its, 0)
    needed = (total + HEIGHT - 1) // HEIGHT
    last = tl.cumsum(needed, 0)
    first = (last - needed) * HEIGHT
    for at in range(chunk * STEP, num_tiles, chunks * STEP):
        tile = at + tl.arange(0, STEP)
        expert = tl.sum((last[None, :] <= tile[:, None]).to(tl.int32), 1)
        left = tl.sum(tl.where(expert[:, None] == every[None, :], (first + total)[None, :], 0), 1) - tile * HEIGHT
        live = tl.minimum(tl.maximum(left, 0), HEIGHT)
        tl.store(tiles + tile * 2, expert, mask=tile < num_tiles)
        tl.store(tiles + tile * 2 + 1, live, mask=tile < num_tiles)
    place = first + before
    for at in range(start, stop, STEP):
        pair = at + tl.arange(0, STEP)
        own = _own(experts, pair, stop, EXPERTS)
        places = tl.sum(own * (tl.cumsum(own, 0) - 1 + place[None, :]), 1)
        tl.store(order + places, pair, mask=pair < stop)
        place += tl.sum(own, 0)


def most_tiles(pairs: int, count: int, height: int) -> int:
    """How many tiles pairs may need, however they are spread over experts."""
    return pairs // height + min(pairs, count)


def sort_pairs(experts: Tensor, count: int, height: int) -> Sorted:
    """The pairs of `experts` [tokens, top_k], each below `count`, sorted and cut into tiles of a height.

    Raises:
        ValueError: shapes, types or strides are none that the kernels take.
    """
    if experts.dtype != torch.int64 or not experts.is_contiguous():
        raise ValueError(f"experts are to lie side by side as int64, not in {experts.dtype}")
    if not 0 < count <= MOST_EXPERTS:
        raise ValueError(f"there are {count} experts; the kernels take 1 to {MOST_EXPERTS}")
    pairs, device = experts.numel(), experts.device
    num_tiles, width = most_tiles(pairs, count, height), max(16, triton.next_power_of_2(count))
    order = torch.empty(num_tiles * height, dtype=torch.int32, device=device)
    tiles = torch.empty((num_tiles, 2), dtype=torch.int32, device=device)
    if not pairs:
        return Sorted(order, tiles)
    chunk_pairs = pairs if pairs <= ALONE else max(ALONE, -(-pairs // MOST_CHUNKS))
    chunks = -(-pairs // chunk_pairs)
    counts = torch.empty((chunks, width), dtype=torch.int32, device=device) if chunks > 1 else None
    if counts is not None:
        _count_kernel[(chunks,)](
            counts, experts, pairs, chunk_pairs, EXPERTS=width, STEP=_step(width), num_warps=8, enable_fp_fusion=True
        )
    _sort_kernel[(chunks,)](
        order, tiles, counts, experts, pairs, chunk_pairs, num_tiles, EXPERTS=width,
        ALONE=counts is None, HEIGHT=height, STEP=_step(width), num_warps=8,
        enable_fp_fusion=True,
    )  # fmt: skip
    return Sorted(order, tiles)


def _step(width: int) -> int:
    """How many pairs are compared with so many experts at once."""
    return min(64, COMPARED // width)


def signatures() -> list[Case]:
    """What is worth compiling ahead of time."""
    numbers = {"pairs": "i32", "chunk_pairs": "i32"}
    tensors = {"order": "*i32", "tiles": "*i32", "counts": "*i32", "experts": "*i64", **numbers, "num_tiles": "i32"}
    found = []
    for width in (128, 512):
        constants = {"EXPERTS": width, "STEP": _step(width)}
        counting = {"counts": "*i32", "experts": "*i64", **numbers}
        found.append(Case(f"routing count, {width} experts", _count_kernel, counting, constants, 8, 3))
        for alone in (True, False):
            name = f"routing sort, {width} experts, {'one chunk' if alone else 'chunks'}"
            found.append(Case(name, _sort_kernel, tensors, {**constants, "ALONE": alone, "HEIGHT": 64}, 8, 3))
    return found
