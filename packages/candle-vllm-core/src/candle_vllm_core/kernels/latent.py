"""Attention over a paged cache of latents, for any mix of prompts and answers (DeepSeek-V2, section 2.1.2, absorbed).

One key k_j for all heads, of which the latent c_j is the beginning and the value. For a query q at position t,

    out = sum_j exp(s_j) c_j / sum_j exp(s_j),  s_j = scale * q . k_j,  over  0 <= j <= t

taken one block of keys after another with a running peak, as in `attention`, whose items of work and whose merging of
parts these are. All heads of a query, and of the next ones, are rows (row r is query r // heads, head r % heads), and
ROWS of them are a program's, so that a latent is read from memory once for many and used twice.

q         [tokens, heads, rank + ends]
out       [tokens, heads, rank]
cache     [slots, 1, 1, rank + ends], slot = block * block_size + offset
scales    [slots, 1, 1] float32, of a cache in fp8
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
from torch import Tensor
from triton import language as tl

from .attention import FP8, _find_slots
from .case import Case
from .parts import KEYS_OF_ITEMS, Tile, Work, merge

_LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
# Less than any score, and finite, so that its difference to itself is zero.
_FLOOR: tl.constexpr = tl.constexpr(-1e30)


@triton.jit
def _load_part(base, rows, here, FIRST: tl.constexpr, COUNT: tl.constexpr, DIM: tl.constexpr):
    """[rows, DIM]: COUNT numbers of each row from FIRST on; zero where there are none, for those may be NaN."""
    dims = tl.arange(0, DIM)
    each = here[:, None]
    if COUNT != DIM:
        each = each & (dims < COUNT)[None, :]
    return tl.load(base + rows[:, None] + (FIRST + dims)[None, :], mask=each, other=0.0)


@triton.jit
def _attend_rows(
    item,
    first_row,
    out,
    partials,
    sums,
    q,
    cache,
    scales,
    tables,
    scale,
    HEADS: tl.constexpr,
    QUERIES: tl.constexpr,
    RANK: tl.constexpr,
    ENDS: tl.constexpr,
    LATENT: tl.constexpr,
    END: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """ROWS rows of one item of work, with LATENT >= RANK and END >= ENDS powers of two."""
    table, token, queries = tables + tl.load(item), tl.load(item + 1), tl.load(item + 2)
    position, start, stop, partial = tl.load(item + 3), tl.load(item + 4), tl.load(item + 5), tl.load(item + 6)
    rows = first_row + tl.arange(0, ROWS)
    real = rows < queries * HEADS
    positions = position + rows // HEADS
    places = (token.to(tl.int64) * HEADS + rows) * (RANK + ENDS)
    latent_q = _load_part(q, places, real, 0, RANK, LATENT)
    end_q = _load_part(q, places, real, RANK, ENDS, END)

    peak = tl.full([ROWS], _FLOOR, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    acc = tl.zeros([ROWS, LATENT], tl.float32)
    for at in tl.range(start // KEYS * KEYS, stop, KEYS):
        keys = at + tl.arange(0, KEYS)
        here = (keys >= start) & (keys < stop)
        slots = _find_slots(table, at, here, BLOCK_SIZE, KEYS)
        latents = _load_part(cache, slots * (RANK + ENDS), here, 0, RANK, LATENT).to(q.dtype.element_ty)
        ends = _load_part(cache, slots * (RANK + ENDS), here, RANK, ENDS, END).to(q.dtype.element_ty)
        scores = tl.dot(end_q, ends.T, input_precision="ieee")
        scores = tl.dot(latent_q, latents.T, scores, input_precision="ieee") * (scale * _LOG2E)
        if scales is not None:
            unit = tl.load(scales + slots, mask=here, other=0.0)[None, :]
            scores *= unit
        scores = tl.where(here[None, :] & (keys[None, :] <= positions[:, None]), scores, float("-inf"))
        higher = tl.maximum(peak, tl.max(scores, 1))
        weights = tl.exp2(scores - higher[:, None])
        shrunk = tl.exp2(peak - higher)
        total = total * shrunk + tl.sum(weights, 1)
        if scales is not None:
            weights *= unit
        acc = tl.dot(weights.to(q.dtype.element_ty), latents, acc * shrunk[:, None], input_precision="ieee")
        peak = higher

    found = acc / tl.where(total > 0, total, 1.0)[:, None]
    dims = tl.arange(0, LATENT)
    each = real[:, None] & (dims < RANK)[None, :]
    if partial < 0:
        own = (token.to(tl.int64) * HEADS + rows) * RANK
        tl.store(out + own[:, None] + dims[None, :], found.to(out.dtype.element_ty), mask=each)
    else:
        row = partial.to(tl.int64) * (QUERIES * HEADS) + rows
        tl.store(partials + row[:, None] * RANK + dims[None, :], found, mask=each)
        seen = peak + tl.log2(tl.maximum(total, 1e-30))
        tl.store(sums + row, tl.where(total > 0, seen, float("-inf")), mask=real)


@triton.jit
def _latent_kernel(
    out,
    partials,
    sums,
    q,
    cache,
    scales,
    items,
    tables,
    scale,
    HEADS: tl.constexpr,
    QUERIES: tl.constexpr,
    RANK: tl.constexpr,
    ENDS: tl.constexpr,
    LATENT: tl.constexpr,
    END: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    SHARED: tl.constexpr,
):
    """ROWS rows of one item of work, or with SHARED of every so many-th, as many as there are programs."""
    tiles: tl.constexpr = (QUERIES * HEADS + ROWS - 1) // ROWS
    if SHARED:
        # What all rounds have in common would stay in registers from one to the next, of which there are none left.
        for pair in tl.range(tl.program_id(0), tl.load(items + 7) * tiles, tl.num_programs(0), disable_licm=True):
            _attend_rows(
                items + pair // tiles * 8, pair % tiles * ROWS, out, partials, sums, q, cache, scales, tables, scale,
                HEADS, QUERIES, RANK, ENDS, LATENT, END, BLOCK_SIZE, ROWS, KEYS,
            )  # fmt: skip
    else:
        item, first_row = items + tl.program_id(0) // tiles * 8, tl.program_id(0) % tiles * ROWS
        if first_row < tl.load(item + 2) * HEADS:
            _attend_rows(
                item, first_row, out, partials, sums, q, cache, scales, tables, scale, HEADS, QUERIES, RANK, ENDS,
                LATENT, END, BLOCK_SIZE, ROWS, KEYS,
            )  # fmt: skip


def tile_of(
    heads: int, rank: int, dtype: torch.dtype, *, single: bool, amd: bool = torch.version.hip is not None
) -> Tile:
    """The tile for items of a single query, or of as many as fill a program, of so many heads.

    Raises:
        ValueError: a latent is larger than any program could hold.
    """
    bytes_each = max(triton.next_power_of_2(rank) * dtype.itemsize, 256)
    if bytes_each not in _MANY_ROWS:
        raise ValueError(f"a latent of {bytes_each} bytes; the kernels take at most {max(_MANY_ROWS)}")
    rows, keys, warps, stages = (_FEW_ROWS if amd or (single and heads <= 16) else _MANY_ROWS)[bytes_each]
    # What has several queries must not be cut as single ones are.
    return Tile(rows, keys, warps, min(stages, 2) if amd else stages, 1 if single else max(2, rows // heads))


# By the bytes of one latent, the largest that spill nowhere: rows, keys, warps and stages, half of which are the look
# into the block table: 6 are two blocks of keys on their way. AMD's programs have 64 kB of shared memory, and hold all
# rows in registers of each warp: 16 are the most there, and one block of keys.
_FEW_ROWS = {256: (16, 64, 4, 6), 512: (16, 32, 4, 6), 1024: (16, 32, 4, 6), 2048: (16, 16, 4, 4)}
_MANY_ROWS = {256: (64, 64, 4, 6), 512: (64, 32, 8, 6), 1024: (32, 32, 8, 6), 2048: (16, 16, 4, 4)}


def attend(
    q: Tensor,
    cache: Tensor,
    work: Work,
    tile: Tile,
    out: Tensor,
    *,
    block_size: int,
    scale: float,
    scales: Tensor | None = None,
    most_programs: int | None = None,
) -> None:
    """Attend as `work` says, with one KV head, into `out`; shapes are in the module's docstring.

    With `most_programs` no more are launched, whatever room `work` has; those there are share out what there is to do.

    Raises:
        ValueError: shapes, types or strides are none that the kernels take.
    """
    _check(q, cache, out, scales)
    heads, key_dim, rank = *q.shape[1:], out.shape[2]
    if tile.keys > KEYS_OF_ITEMS or work.partials.shape[1:] != (1, tile.queries * heads, rank):
        raise ValueError(f"a tile of {tile} does not go with partial results of {tuple(work.partials.shape)}")
    latent, end = triton.next_power_of_2(rank), max(16, triton.next_power_of_2(key_dim - rank))
    if pairs := work.items.shape[0] * triton.cdiv(tile.queries * heads, tile.rows):
        _latent_kernel[(min(pairs, most_programs or pairs),)](
            out, work.partials, work.sums, q, cache, scales, work.items, work.tables, scale, HEADS=heads,
            QUERIES=tile.queries, RANK=rank, ENDS=key_dim - rank, LATENT=max(16, latent), END=end,
            BLOCK_SIZE=block_size, ROWS=tile.rows, KEYS=tile.keys, SHARED=most_programs is not None,
            num_warps=tile.warps, num_stages=_stages(tile, scaled=scales is not None), enable_fp_fusion=True,
        )  # fmt: skip
    merge(out, work, None, 1, tile.queries)


def _stages(tile: Tile, *, scaled: bool) -> int:
    """Numbers in fp8 are made longer in registers, of which more stages would spill some."""
    return min(tile.stages, 4) if scaled else tile.stages


def _check(q: Tensor, cache: Tensor, out: Tensor, scales: Tensor | None) -> None:
    if cache.dim() != 4 or cache.shape[1:] != (1, 1, q.shape[2]) or not 0 < out.shape[2] < q.shape[2]:
        raise ValueError(f"queries {tuple(q.shape)} do not fit a cache of {tuple(cache.shape)} and {tuple(out.shape)}")
    if out.shape[:2] != q.shape[:2] or not (q.is_contiguous() and out.is_contiguous() and cache.is_contiguous()):
        raise ValueError("queries, the cache and the result must lie side by side, a result for each query")
    if (cache.dtype == FP8) != (scales is not None) or (scales is None and cache.dtype != q.dtype):
        raise ValueError(f"queries in {q.dtype}, a cache in {cache.dtype} and {'no ' if scales is None else ''}scales")


def signatures() -> list[Case]:
    """The configurations to compile ahead."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    for heads, single in ((16, True), (16, False), (128, True)):
        yield from _case(f"{heads} heads, {'answers' if single else 'prompts'}", heads, "bf16", single=single)
    yield from _case("128 heads, answers", 128, "bf16", single=True, scaled=True)
    yield from _case("16 heads, answers", 16, "fp16", single=True)
    yield from _case("16 heads, answers", 16, "fp32", single=True)


def _case(name: str, heads: int, dtype: str, *, single: bool, scaled: bool = False) -> Iterator[Case]:
    types = {"out": f"*{dtype}", "partials": "*fp32", "sums": "*fp32", "q": f"*{dtype}", "items": "*i32"}
    types |= {"cache": "*fp8e4nv" if scaled else f"*{dtype}", "tables": "*i32", "scale": "fp32"}
    types |= {"scales": "*fp32"} if scaled else {}
    absent = {} if scaled else {"scales": None}
    sizes = {"HEADS": heads, "RANK": 512, "ENDS": 64, "LATENT": 512, "END": 64, "BLOCK_SIZE": 64}
    # Compute capability 8.0 does not know fp8, and gfx942 another one.
    for targets in (("sm_90", "sm_100"),) if scaled else (("sm_80", "sm_90", "sm_100"), ("gfx942",)):
        wide = torch.float32 if dtype == "fp32" else torch.bfloat16
        tile = tile_of(heads, 512, wide, single=single, amd=targets == ("gfx942",))
        # Recorded steps are of answers.
        own = {"QUERIES": tile.queries, "ROWS": tile.rows, "KEYS": tile.keys, "SHARED": single}
        constants: dict[str, object] = {**sizes, **absent, **own}
        said = f"latent of 512 and 64, {name}, {'fp8' if scaled else dtype}"
        yield Case(said, _latent_kernel, types, constants, tile.warps, _stages(tile, scaled=scaled), targets)
