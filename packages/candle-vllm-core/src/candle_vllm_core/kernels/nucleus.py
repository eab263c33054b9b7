"""Draws from nuclei that hold more tokens than were looked at: `draw_nuclei`.

With w = exp((logit - best) / temperature) in float32, the nucleus are the likeliest tokens, of equals the first, that
together reach top_p * sum(w), as `search` finds them; of them those with w >= min_p are left. They stand on the
interval in the order of their ids. Sums are in float64.

waiting  [n] int32: whether the row is to be drawn here; all others as in `rows`
"""

from __future__ import annotations

import triton
from torch import Tensor
from triton import language as tl

from .case import Case
from .rows import Drawn, Requests, Scratch, edited_row, find, finish, number_of
from .search import ROUGH, beginning, mass, measured, on_edge

TILE = 4096
_ONE: tl.constexpr = tl.constexpr(0x3F800000)
"""The bits of 1, the largest w."""


@triton.jit
def _kept(base, best, inverse, at, vocab, edge, last, least, TILE: tl.constexpr):
    """w of those of TILE tokens that are left, 0 of all others."""
    token, bits, w = measured(base, best, inverse, at, vocab, ROUGH, TILE)
    return token, tl.where(((bits > edge) | ((bits == edge) & (token <= last))) & (w >= least), w, 0.0)


@triton.jit
def _nucleus_kernel(
    drawn,
    logprobs,
    statuses,
    work,
    peaks,
    stats,
    logits,
    numbers,
    places,
    counts,
    waiting,
    rows,
    vocab,
    stride,
    chunks,
    CHUNKS: tl.constexpr,
    BLOCKS: tl.constexpr,
    TILE: tl.constexpr,
):
    """One row, if it waits for it."""
    if tl.load(waiting + tl.program_id(0)) == 0:
        return
    row = tl.load(rows + tl.program_id(0)).to(tl.int64)
    base = edited_row(logits, work, places, row, vocab, stride)
    block = tl.arange(0, BLOCKS * CHUNKS)
    best = tl.max(tl.load(peaks + row * chunks * BLOCKS + block, mask=block < chunks * BLOCKS, other=float("-inf")), 0)
    inverse = tl.div_rn(tl.full((), 1.0, tl.float32), number_of(numbers, row, 0).to(tl.float32))
    top_p, point = number_of(numbers, row, 2), number_of(numbers, row, 4)
    least = number_of(numbers, row, 3).to(tl.float32).to(tl.float64)
    edge, last = tl.zeros((), tl.int32), tl.zeros((), tl.int32) + vocab
    if top_p < 1.0:
        whole = mass(base, best, inverse, vocab, edge - 1, edge, ROUGH, TILE)
        edge, missing = beginning(base, best, inverse, vocab, top_p * whole, edge, edge + _ONE, ROUGH, TILE)
        last = on_edge(base, best, inverse, vocab, edge, missing, ROUGH, TILE)
    whole = tl.zeros((), tl.float64)
    for at in range(0, vocab, TILE):
        token, w = _kept(base, best, inverse, at, vocab, edge, last, least, TILE)
        whole += tl.sum(w, 0)
    point *= whole
    running, before, start = tl.zeros((), tl.float64), tl.zeros((), tl.float64), tl.zeros((), tl.int32)
    for at in range(0, vocab, TILE):
        token, w = _kept(base, best, inverse, at, vocab, edge, last, least, TILE)
        weight = tl.sum(w, 0)
        if (running <= point) & (weight > 0):
            before, start = running, at
        running += weight
    token, w = _kept(base, best, inverse, start, vocab, edge, last, least, TILE)
    place = find(before + tl.cumsum(w, 0), w, point, tl.arange(0, TILE), TILE)
    token = start + place
    finish(
        drawn, logprobs, statuses, logits, stats, places, counts, row, token, token >= 0, vocab, stride, chunks, CHUNKS
    )  # fmt: skip


def draw_nuclei(
    drawn: Drawn, logits: Tensor, scratch: Scratch, requests: Requests, rows: Tensor, waiting: Tensor
) -> None:
    """Draw those of some rows [n] that wait for it, from all of their tokens."""
    chunks = scratch.stats.shape[1]
    _nucleus_kernel[(len(rows),)](
        *drawn, scratch.work, scratch.peaks, scratch.stats, logits, requests.numbers, requests.places, requests.counts,
        waiting, rows, logits.shape[1], logits.stride(0), chunks, CHUNKS=triton.next_power_of_2(chunks),
        BLOCKS=scratch.peaks.shape[1] // chunks, TILE=TILE, num_warps=16, enable_fp_fusion=True,
    )  # fmt: skip


def signatures() -> list[Case]:
    """What is worth compiling ahead of time."""
    floats = dict.fromkeys(("logprobs", "work", "peaks", "stats", "logits"), "*fp32")
    integers = {"statuses": "*i32", "counts": "*i32", "waiting": "*i32", "rows": "*i32", "places": "*i64"}
    types = {
        **floats,
        **integers,
        "drawn": "*i64",
        "numbers": "*fp64",
        **dict.fromkeys(("vocab", "stride", "chunks"), "i32"),
    }
    constants = {"CHUNKS": 64, "BLOCKS": 64, "TILE": TILE}
    return [Case("sampling nucleus", _nucleus_kernel, types, constants, 16, 3)]
