"""Which program of attention does what, as data, and the merging of what several found for the same queries.

Of a part of the keys a program finds o_i, the mean of the values weighed by exp(s_j), and l_i, log2 of the sum of the
exp(s_j). All parts together, with a sink if there is one, are

    out = sum_i 2^l_i o_i / (exp(sink) + sum_i 2^l_i)

out       [tokens, kv_heads * group, head_dim]
sinks     [kv_heads * group]
"""

from __future__ import annotations

from typing import NamedTuple

import triton
from torch import Tensor
from triton import language as tl

from .case import Case

ITEM = 8
"""Numbers of an item of work: see `Work`."""
MERGE = 4
"""Numbers of a merge: see `Work`."""
KEYS_OF_ITEMS = 256
"""Where items begin: a multiple of the keys of every tile."""

_LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
_FLOOR: tl.constexpr = tl.constexpr(-1e30)


class Tile(NamedTuple):
    """How much a program takes at once."""

    rows: int
    """Queries times the heads that share a KV head, at most."""
    keys: int
    warps: int
    stages: int
    queries: int
    """Of one item at most."""


class Work(NamedTuple):
    """What the programs of a step do; made on the host, the same for all layers that see alike."""

    tables: Tensor
    """int32, the block tables of all sequences"""
    items: Tensor
    """[items, 8] int32: where in `tables` the sequence's table begins, its first token in q, how many queries (0:
    nothing to do), the first query's position, the first key, the key after the last, the place of what is found among
    `partials` or -1 for `out`, and how many items there are in all; what follows those is room. A first key that is not
    the first seen is a multiple of `KEYS_OF_ITEMS`. Without a key the result is zero."""
    merges: Tensor
    """[merges, 4] int32: the first token in `out`, how many queries, the first partial, how many partials"""
    partials: Tensor
    """[partials, kv_heads, tile.queries * group, head_dim] float32"""
    sums: Tensor
    """[partials, kv_heads, tile.queries * group] float32: log2 of the sum of the exponentials of a partial's scores"""


@triton.jit
def _merge_kernel(
    out,
    partials,
    sums,
    sinks,
    merges,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    QUERIES: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    SINKS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """One row of one merge: the parts weighed by exp2 of their logarithms of the sum, PARTS at a time, in order."""
    merge = merges + tl.program_id(0) // (KV_HEADS * QUERIES * GROUP) * 4
    kv_head = tl.program_id(0) // (QUERIES * GROUP) % KV_HEADS
    row = tl.program_id(0) % (QUERIES * GROUP)
    token, queries, first, count = tl.load(merge), tl.load(merge + 1), tl.load(merge + 2), tl.load(merge + 3)
    if row // GROUP >= queries:
        return
    head, dims = kv_head * GROUP + row % GROUP, tl.arange(0, DIM)
    peak = tl.full([1], _FLOOR, tl.float32)
    total = tl.zeros([1], tl.float32)
    if SINKS:
        peak = tl.maximum(tl.load(sinks + head + tl.arange(0, 1)).to(tl.float32) * _LOG2E, _FLOOR)
        total += 1.0
    acc = tl.zeros([DIM], tl.float32)
    for part in tl.range(0, count, PARTS):
        parts = part + tl.arange(0, PARTS)
        own = ((first + parts).to(tl.int64) * KV_HEADS + kv_head) * (QUERIES * GROUP) + row
        logs = tl.load(sums + own, mask=parts < count, other=float("-inf"))
        each = (parts < count)[:, None] & (dims < HEAD_DIM)[None, :]
        found = tl.load(partials + own[:, None] * HEAD_DIM + dims[None, :], mask=each, other=0.0)
        higher = tl.maximum(peak, tl.max(logs, 0))
        weights = tl.exp2(logs - higher)
        shrunk = tl.exp2(peak - higher)
        acc = acc * shrunk + tl.sum(found * weights[:, None], 0)
        total = total * shrunk + tl.sum(weights, 0)
        peak = higher
    places = out + (token + row // GROUP).to(tl.int64) * (KV_HEADS * GROUP * HEAD_DIM) + head * HEAD_DIM + dims
    tl.store(places, (acc / total).to(out.dtype.element_ty), mask=dims < HEAD_DIM)


def merge(out: Tensor, work: Work, sinks: Tensor | None, kv_heads: int, queries: int) -> None:
    """Merge the parts of `work`, whose items have at most so many queries, into `out`, which is contiguous."""
    if count := work.merges.shape[0]:
        head_dim = out.shape[2]
        group = out.shape[1] // kv_heads
        _merge_kernel[(count * kv_heads * queries * group,)](
            out, work.partials, work.sums, sinks, work.merges, KV_HEADS=kv_heads, GROUP=group, QUERIES=queries,
            HEAD_DIM=head_dim, DIM=triton.next_power_of_2(head_dim), SINKS=sinks is not None, PARTS=16, num_warps=4,
            enable_fp_fusion=True,
        )  # fmt: skip


def signatures() -> list[Case]:
    """The configurations to compile ahead."""
    types = {"out": "*bf16", "partials": "*fp32", "sums": "*fp32", "sinks": "*bf16", "merges": "*i32"}
    sizes = {"KV_HEADS": 8, "GROUP": 4, "QUERIES": 1, "HEAD_DIM": 128, "DIM": 128, "SINKS": True, "PARTS": 16}
    return [Case("heads of 128, bf16", _merge_kernel, types, sizes, 4, 3)]
