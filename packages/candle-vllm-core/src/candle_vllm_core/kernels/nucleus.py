"""Draws from nuclei that hold more tokens than were looked at: `draw_nuclei`.

With w = exp((logit - best) / temperature) in float32, the nucleus are the likeliest tokens, of equals the first, that
together reach top_p * sum(w); of them those with w >= min_p are left. They stand on the interval in the order of their
ids. The smallest w of the nucleus is sought by halving the interval of its bits (order of floats over 0 is that of
their bits), each time moved to the nearest w that a token has: as often as the number of different w has bits. Sums are
in float64, of a tile first, then over tiles.

waiting  [n] int32: whether the row is to be drawn here; all others as in `rows`
"""

from __future__ import annotations

import triton
from torch import Tensor
from triton import language as tl

from .case import Case
from .rows import Drawn, Requests, Scratch, edited_row, find, finish, number_of

TILE = 4096
HIGHEST: tl.constexpr = tl.constexpr(0x3F800000)
"""The bits of 1, the largest w."""


@triton.jit
def _weights(base, best, inverse, at, vocab, TILE: tl.constexpr):
    """w of TILE tokens from `at` on, in float64, and its bits; 0 past the end."""
    token = at + tl.arange(0, TILE)
    x = tl.load(base + token, mask=token < vocab, other=float("-inf"))
    w = tl.where(x == float("-inf"), 0.0, tl.exp((x - best) * inverse))
    return token, w.to(tl.float64), w.to(tl.int32, bitcast=True)


@triton.jit
def _edge(base, best, inverse, vocab, top_p, TILE: tl.constexpr):
    """The bits of the smallest w of the nucleus, and how many tokens that have just this w belong to it."""
    mass = tl.zeros((), tl.float64)
    for at in range(0, vocab, TILE):
        token, w, bits = _weights(base, best, inverse, at, vocab, TILE)
        mass += tl.sum(w, 0)
    mass *= top_p
    # All from `low` on reach the mass, all from `high` on do not; some token has low's bits, one has those below high.
    low, high = tl.zeros((), tl.int32), tl.full((), HIGHEST + 1, tl.int32)
    over = tl.zeros((), tl.float64)
    while high - low > 1:
        middle = low + (high - low) // 2
        reached = tl.zeros((), tl.float64)
        up, down = tl.full((), HIGHEST + 1, tl.int32), tl.zeros((), tl.int32)
        for at in range(0, vocab, TILE):
            token, w, bits = _weights(base, best, inverse, at, vocab, TILE)
            reached += tl.sum(tl.where(bits >= middle, w, 0.0), 0)
            up = tl.minimum(up, tl.min(tl.where(bits >= middle, bits, HIGHEST + 1), 0))
            down = tl.maximum(down, tl.max(tl.where(bits < middle, bits, 0), 0))
        if reached >= mass:
            low = up
        else:
            high = tl.maximum(down, low) + 1
            over = reached
    each = low.to(tl.float32, bitcast=True).to(tl.float64)
    missing = tl.maximum(tl.ceil((mass - over) / tl.maximum(each, 1e-300)), 1.0)
    return low, tl.minimum(missing, 1.0 * vocab).to(tl.int32)


@triton.jit
def _last_equal(base, best, inverse, vocab, edge, missing, TILE: tl.constexpr):
    """The token that is number `missing`, counted from 1, of those whose w has the bits `edge`; if fewer, the last."""
    found, start, before = tl.zeros((), tl.int32), tl.zeros((), tl.int32), tl.zeros((), tl.int32)
    for at in range(0, vocab, TILE):
        token, w, bits = _weights(base, best, inverse, at, vocab, TILE)
        count = tl.sum(((bits == edge) & (token < vocab)).to(tl.int32), 0)
        if found < missing:
            start, before = at, found
        found += count
    token, w, bits = _weights(base, best, inverse, start, vocab, TILE)
    equal = (bits == edge) & (token < vocab)
    rank = before + tl.cumsum(equal.to(tl.int32), 0)
    return tl.max(tl.where(equal & (rank <= missing), token, -1), 0)


@triton.jit
def _kept(base, best, inverse, at, vocab, edge, last, least, TILE: tl.constexpr):
    """w of those of TILE tokens that are left, 0 of all others."""
    token, w, bits = _weights(base, best, inverse, at, vocab, TILE)
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
        edge, missing = _edge(base, best, inverse, vocab, top_p, TILE)
        last = _last_equal(base, best, inverse, vocab, edge, missing, TILE)
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
        BLOCKS=scratch.peaks.shape[1] // chunks, TILE=TILE, num_warps=8, enable_fp_fusion=True,
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
    return [Case("sampling nucleus", _nucleus_kernel, types, constants, 8, 3)]
