"""Attention over a paged KV cache, for any mix of prompts and answers.

For a query q at position t and the keys k_j and values v_j of its sequence and KV head, with s_j = cap(scale * q . k_j)
where cap(x) = softcap * tanh(x / softcap), or x where there is no cap:

    out = sum_j exp(s_j) v_j / (exp(sink) + sum_j exp(s_j)),  over  max(0, t - window + 1) <= j <= t

taken one block of keys after another with a running peak (Milakov and Gimelshein 2018; Dao et al. 2022). The heads that
share a KV head are packed into one tile with the queries (row r is query r // group, head r % group), so each key is
read once for all of them. Where few queries see many keys, the keys are split among programs, and a second kernel
merges what each found: see `parts`, where the data stand that say which program does what.

q, out    [tokens, heads, head_dim]; q may have a wider row
cache     [slots, 2, kv_heads, head_dim], slot = block * block_size + offset; keys are side 0, values side 1
scales    [slots, 2, kv_heads] float32, of a cache in fp8: a number is its fp8 times the scale of its slot and head
tables    [sequences, blocks] int32, or any other tensor of block tables
sinks     [heads]
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
from torch import Tensor
from triton import language as tl

from .case import Case
from .parts import KEYS_OF_ITEMS, Tile, Work, merge
from .tiles import tiles

FP8 = torch.float8_e4m3fn

_LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
# Less than any score, and finite, so that its difference to itself is zero.
_FLOOR: tl.constexpr = tl.constexpr(-1e30)


@triton.jit
def _find_slots(table, at, here, BLOCK_SIZE: tl.constexpr, KEYS: tl.constexpr):
    """The slots of the keys from `at` on, which is a multiple of KEYS."""
    if BLOCK_SIZE % KEYS == 0:
        block = tl.load(table + at // BLOCK_SIZE).to(tl.int64)
        slots = block * BLOCK_SIZE + at % BLOCK_SIZE + tl.arange(0, KEYS)
    else:
        keys = at + tl.arange(0, KEYS)
        slots = tl.load(table + keys // BLOCK_SIZE, mask=here, other=0).to(tl.int64) * BLOCK_SIZE + keys % BLOCK_SIZE
    return slots


@triton.jit
def _load_side(base, slots, here, SLOT: tl.constexpr, HEAD_DIM: tl.constexpr, DIM: tl.constexpr, MASKED: tl.constexpr):
    """[KEYS, DIM] keys or values of some slots; zero where there are none, for what is not written may be NaN."""
    dims = tl.arange(0, DIM)
    places = base + slots[:, None] * SLOT + dims[None, :]
    if MASKED:
        side = tl.load(places, mask=here[:, None] & (dims < HEAD_DIM)[None, :], other=0.0)
    elif HEAD_DIM != DIM:
        side = tl.load(places, mask=(dims < HEAD_DIM)[None, :], other=0.0)
    else:
        side = tl.load(places)
    return side


@triton.jit
def _tanh(x):
    """(1 - e^-2|x|) / (1 + e^-2|x|) with the sign of x, in which nothing overflows."""
    small = tl.exp2(tl.abs(x) * (-2 * _LOG2E))
    size = (1 - small) / (1 + small)
    return tl.where(x < 0, -size, size)


@triton.jit
def _sum_keys(
    acc,
    total,
    peak,
    q,
    positions,
    k_base,
    v_base,
    scale_base,
    table,
    first,
    last,
    start,
    stop,
    scale,
    softcap,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    KEYS: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SCALED: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Add the keys from `first` up to `last` to a running softmax; without MASKED every query sees all of them."""
    for at in tl.range(first, last, KEYS):
        keys = at + tl.arange(0, KEYS)
        here = (keys >= start) & (keys < stop)
        slots = _find_slots(table, at, here, BLOCK_SIZE, KEYS)
        k = _load_side(k_base, slots, here, 2 * KV_HEADS * HEAD_DIM, HEAD_DIM, DIM, MASKED)
        scores = tl.dot(q, k.to(q.dtype).T, input_precision="ieee")
        if SCALED:
            scores *= tl.load(scale_base + slots * (2 * KV_HEADS), mask=here, other=0.0)[None, :]
        if SOFTCAP:
            scores = _tanh(scores * (scale / softcap)) * (softcap * _LOG2E)
        else:
            scores *= scale * _LOG2E
        if MASKED:
            seen = here[None, :] & (keys[None, :] <= positions[:, None])
            if WINDOW > 0:
                seen = seen & (keys[None, :] > positions[:, None] - WINDOW)
            scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(peak, tl.max(scores, 1))
        weights = tl.exp2(scores - higher[:, None])
        shrunk = tl.exp2(peak - higher)
        total = total * shrunk + tl.sum(weights, 1)
        v = _load_side(v_base, slots, here, 2 * KV_HEADS * HEAD_DIM, HEAD_DIM, DIM, MASKED)
        if SCALED:
            weights *= tl.load(scale_base + slots * (2 * KV_HEADS) + KV_HEADS, mask=here, other=0.0)[None, :]
        acc = tl.dot(weights.to(q.dtype), v.to(q.dtype), acc * shrunk[:, None], input_precision="ieee")
        peak = higher
    return acc, total, peak


@triton.jit
def _attend_item(
    item,
    kv_head,
    out,
    partials,
    sums,
    q,
    cache,
    scales,
    sinks,
    tables,
    scale,
    softcap,
    Q_ROW: tl.constexpr,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    QUERIES: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SINKS: tl.constexpr,
    SCALED: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """One item of work and one KV head."""
    table, token, queries = tables + tl.load(item), tl.load(item + 1), tl.load(item + 2)
    position, start, stop, partial = tl.load(item + 3), tl.load(item + 4), tl.load(item + 5), tl.load(item + 6)
    rows, dims = tl.arange(0, ROWS), tl.arange(0, DIM)
    query, heads = rows // GROUP, kv_head * GROUP + rows % GROUP
    positions, tokens = position + query, (token + query).to(tl.int64)
    real = query < queries
    each = real[:, None] & (dims < HEAD_DIM)[None, :]
    loaded = tl.load(q + (tokens * Q_ROW + heads * HEAD_DIM)[:, None] + dims[None, :], mask=each, other=0.0)

    peak = tl.full([ROWS], _FLOOR, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    if SINKS:
        # Of a split sequence the sink is taken when its parts are merged.
        whole = partial < 0
        sink = tl.load(sinks + heads, mask=real, other=0.0).to(tl.float32) * _LOG2E
        peak = tl.where(whole, tl.maximum(sink, _FLOOR), peak)
        total = tl.where(whole, 1.0, total)
    acc = tl.zeros([ROWS, DIM], tl.float32)

    k_base = cache + kv_head * HEAD_DIM
    v_base = k_base + KV_HEADS * HEAD_DIM
    scale_base = scales + kv_head if SCALED else scales
    first = start // KEYS * KEYS
    # A single query sees all that is here but the edges; of several, each sees another part of the last keys.
    if QUERIES == 1:
        acc, total, peak = _sum_keys(
            acc, total, peak, loaded, positions, k_base, v_base, scale_base, table, first, stop, start, stop, scale,
            softcap, KV_HEADS, HEAD_DIM, DIM, BLOCK_SIZE, KEYS, WINDOW, SOFTCAP, SCALED, True,
        )  # fmt: skip
    else:
        inner = first
        if WINDOW > 0:
            inner = tl.maximum(start, position + queries - WINDOW)
            inner = tl.minimum((inner + KEYS - 1) // KEYS * KEYS, stop)
            acc, total, peak = _sum_keys(
                acc, total, peak, loaded, positions, k_base, v_base, scale_base, table, first, inner, start, stop,
                scale, softcap, KV_HEADS, HEAD_DIM, DIM, BLOCK_SIZE, KEYS, WINDOW, SOFTCAP, SCALED, True,
            )  # fmt: skip
        outer = tl.maximum(inner, tl.minimum(position + 1, stop) // KEYS * KEYS)
        acc, total, peak = _sum_keys(
            acc, total, peak, loaded, positions, k_base, v_base, scale_base, table, inner, outer, start, stop, scale,
            softcap, KV_HEADS, HEAD_DIM, DIM, BLOCK_SIZE, KEYS, WINDOW, SOFTCAP, SCALED, False,
        )  # fmt: skip
        acc, total, peak = _sum_keys(
            acc, total, peak, loaded, positions, k_base, v_base, scale_base, table, outer, stop, start, stop, scale,
            softcap, KV_HEADS, HEAD_DIM, DIM, BLOCK_SIZE, KEYS, WINDOW, SOFTCAP, SCALED, True,
        )  # fmt: skip

    found = acc / tl.where(total > 0, total, 1.0)[:, None]
    if partial < 0:
        places = out + (tokens * (KV_HEADS * GROUP) + heads)[:, None] * HEAD_DIM + dims[None, :]
        tl.store(places, found.to(out.dtype.element_ty), mask=each)
    else:
        own = (partial.to(tl.int64) * KV_HEADS + kv_head) * (QUERIES * GROUP) + rows
        tl.store(partials + own[:, None] * HEAD_DIM + dims[None, :], found, mask=each)
        tl.store(sums + own, peak + tl.log2(total), mask=real)


@triton.jit
def _attention_kernel(
    out,
    partials,
    sums,
    q,
    cache,
    scales,
    sinks,
    items,
    tables,
    scale,
    softcap,
    Q_ROW: tl.constexpr,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    QUERIES: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    SINKS: tl.constexpr,
    SCALED: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    SHARED: tl.constexpr,
):
    """One pair of an item and a KV head, or with SHARED every so many-th, as many as there are programs."""
    if SHARED:  # What all rounds have in common would stay in registers meanwhile.
        for pair in tl.range(tl.program_id(0), tl.load(items + 7) * KV_HEADS, tl.num_programs(0), disable_licm=True):
            _attend_item(
                items + pair // KV_HEADS * 8, pair % KV_HEADS, out, partials, sums, q, cache, scales, sinks, tables,
                scale, softcap, Q_ROW, KV_HEADS, GROUP, QUERIES, HEAD_DIM, DIM, BLOCK_SIZE, WINDOW, SOFTCAP, SINKS,
                SCALED, ROWS, KEYS,
            )  # fmt: skip
    else:
        pair = tl.program_id(0)
        _attend_item(
            items + pair // KV_HEADS * 8, pair % KV_HEADS, out, partials, sums, q, cache, scales, sinks, tables, scale,
            softcap, Q_ROW, KV_HEADS, GROUP, QUERIES, HEAD_DIM, DIM, BLOCK_SIZE, WINDOW, SOFTCAP, SINKS, SCALED, ROWS,
            KEYS,
        )  # fmt: skip


def tile_of(
    group: int, head_dim: int, dtype: torch.dtype, *, single: bool, amd: bool = torch.version.hip is not None
) -> Tile:
    """The tile for items of a single query, or of as many as fit, of `group` heads that share a KV head.

    Raises:
        ValueError: a head is larger than any program could hold.
    """
    size = (max(triton.next_power_of_2(head_dim), 64), dtype.itemsize)
    if size not in _SINGLE:
        raise ValueError(f"heads of {head_dim} in {dtype}; the kernels take at most 256 numbers of 2 or 4 bytes")
    key = f"{size[0]} numbers of {size[1]} bytes"
    if single:
        keys, warps, stages = _SINGLE[size]
        default = {"keys": keys, "warps": warps, "stages": min(stages, 2) if amd else stages}
        own = tiles("attention of answers", key, default)
        rows, queries = max(16, triton.next_power_of_2(group)), 1
    else:
        most, keys, warps, stages = (_SEVERAL_AMD if amd else _SEVERAL)[size]
        default = {"rows": most, "keys": keys, "warps": warps, "stages": stages}
        own = tiles("attention of prompts", key, default)
        # What has several queries must not be cut as single ones are.
        rows = max(own["rows"], triton.next_power_of_2(2 * group))
        queries = rows // group
    return Tile(rows, own["keys"], own["warps"], own["stages"], queries)


# By the dimension of a head and the bytes of a number, the largest that spill nowhere: keys, warps and stages, and rows
# before them. Of the stages the look into the block table takes half: 6 are two blocks of keys on their way. AMD's
# programs have 64 kB for them, which is one.
_SINGLE = {(64, 2): (64, 4, 8), (128, 2): (64, 4, 6), (256, 2): (32, 4, 6)}
_SINGLE |= {(64, 4): (32, 4, 6), (128, 4): (32, 4, 6), (256, 4): (16, 4, 4)}
_SEVERAL = {(64, 2): (128, 64, 8, 4), (128, 2): (128, 64, 8, 6), (256, 2): (64, 32, 8, 6)}
_SEVERAL |= {(64, 4): (32, 32, 4, 4), (128, 4): (32, 32, 4, 4), (256, 4): (16, 16, 4, 4)}
_SEVERAL_AMD = {(64, 2): (64, 64, 4, 2), (128, 2): (64, 64, 4, 2), (256, 2): (64, 32, 4, 2)}
_SEVERAL_AMD |= {(64, 4): (32, 32, 4, 2), (128, 4): (32, 32, 4, 2), (256, 4): (16, 16, 4, 2)}


def attend(
    q: Tensor,
    cache: Tensor,
    work: Work,
    tile: Tile,
    out: Tensor,
    *,
    block_size: int,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    scales: Tensor | None = None,
    most_programs: int | None = None,
) -> None:
    """Attend as `work` says, into `out`; shapes are in the module's docstring.

    With `most_programs` no more are launched, whatever room `work` has; those there are share out what there is to do.

    Raises:
        ValueError: shapes, types or strides are none that the kernels take.
    """
    kv_heads, head_dim = _check(q, cache, out, scales)
    group, dim = q.shape[1] // kv_heads, triton.next_power_of_2(head_dim)
    if tile.rows < group * tile.queries or tile.keys > KEYS_OF_ITEMS:
        raise ValueError(f"a tile of {tile} has no room for {tile.queries} queries of {group} heads")
    shared = {"KV_HEADS": kv_heads, "GROUP": group, "QUERIES": tile.queries, "HEAD_DIM": head_dim, "DIM": dim}
    if pairs := work.items.shape[0] * kv_heads:
        _attention_kernel[(min(pairs, most_programs or pairs),)](
            out, work.partials, work.sums, q, cache, scales, sinks, work.items, work.tables, scale, softcap or 1.0,
            Q_ROW=q.stride(0), BLOCK_SIZE=block_size, WINDOW=window or 0, SOFTCAP=softcap is not None,
            SINKS=sinks is not None, SCALED=scales is not None, ROWS=tile.rows, KEYS=tile.keys,
            SHARED=most_programs is not None, **shared,
            num_warps=tile.warps, num_stages=tile.stages, enable_fp_fusion=True,
        )  # fmt: skip
    merge(out, work, sinks, kv_heads, tile.queries)


def _check(q: Tensor, cache: Tensor, out: Tensor, scales: Tensor | None) -> tuple[int, int]:
    """The KV heads and the head's dimension."""
    _, sides, kv_heads, head_dim = cache.shape
    tokens, heads, query_dim = q.shape
    if sides != 2 or query_dim != head_dim or heads % kv_heads or out.shape != q.shape:
        raise ValueError(f"queries {tuple(q.shape)} do not fit a cache of {tuple(cache.shape)} and {tuple(out.shape)}")
    if q.stride()[1:] != (head_dim, 1) or not out.is_contiguous() or not cache.is_contiguous():
        raise ValueError("the heads of one token, the cache and the result must lie side by side")
    if (cache.dtype == FP8) != (scales is not None) or (scales is None and cache.dtype != q.dtype):
        raise ValueError(f"queries in {q.dtype}, a cache in {cache.dtype} and {'no ' if scales is None else ''}scales")
    return kv_heads, head_dim


def signatures() -> list[Case]:
    """The configurations to compile ahead."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    for single in (True, False):
        for head_dim, group in ((64, 8), (80, 1), (128, 4), (128, 8), (256, 2)):
            yield from _case(f"heads of {head_dim}, {group} share, bf16", head_dim, group, single=single)
        name = "heads of 64, 8 share, window and sinks, bf16"
        yield from _case(name, 64, 8, single=single, window=128, sinks=True)
        name = "heads of 256, 2 share, window and cap, bf16"
        yield from _case(name, 256, 2, single=single, window=4096, softcap=True)
        name = "heads of 128, 4 share, blocks of 16, fp16"
        yield from _case(name, 128, 4, single=single, dtype="fp16", block_size=16)
        yield from _case("heads of 128, 4 share, fp8", 128, 4, single=single, scaled=True)
        yield from _case("heads of 128, 4 share, fp32", 128, 4, single=single, dtype="fp32")


def _case(
    name: str,
    head_dim: int,
    group: int,
    *,
    single: bool,
    dtype: str = "bf16",
    block_size: int = 64,
    window: int = 0,
    softcap: bool = False,
    sinks: bool = False,
    scaled: bool = False,
) -> Iterator[Case]:
    types = {"out": f"*{dtype}", "partials": "*fp32", "sums": "*fp32", "q": f"*{dtype}", "items": "*i32"}
    types |= {"cache": "*fp8e4nv" if scaled else f"*{dtype}", "tables": "*i32", "scale": "fp32", "softcap": "fp32"}
    types |= {"sinks": f"*{dtype}"} if sinks else {}
    types |= {"scales": "*fp32"} if scaled else {}
    sizes = {"KV_HEADS": 8, "GROUP": group, "HEAD_DIM": head_dim, "Q_ROW": 8 * group * head_dim}
    sizes |= {"DIM": triton.next_power_of_2(head_dim), "BLOCK_SIZE": block_size, "WINDOW": window}
    # Recorded steps are of answers.
    flags = {"SOFTCAP": softcap, "SINKS": sinks, "SCALED": scaled, "SHARED": single}
    absent = {argument: None for argument in ("sinks", "scales") if argument not in types}
    name = f"{name}, {'answers' if single else 'prompts'}"
    # Compute capability 8.0 does not know fp8.
    for targets in (("sm_90", "sm_100") if scaled else ("sm_80", "sm_90", "sm_100"), ("gfx942",)):
        wide = torch.float32 if dtype == "fp32" else torch.bfloat16
        tile = tile_of(group, head_dim, wide, single=single, amd=targets == ("gfx942",))
        own = {"QUERIES": tile.queries, "ROWS": tile.rows, "KEYS": tile.keys}
        constants: dict[str, object] = {**sizes, **flags, **absent, **own}
        yield Case(name, _attention_kernel, types, constants, tile.warps, tile.stages, targets)
