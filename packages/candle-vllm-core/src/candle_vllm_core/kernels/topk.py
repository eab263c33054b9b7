"""Draws from the top-k of a row for any k: `draw_topk`.

The k likeliest tokens are listed first, of equals those with the lowest ids, as `search` finds them by counting. What
is left of them stands on the interval in the order of their likelihood, and nothing is sorted for it: every cut is an
edge and a number of the tokens on it, and so is the draw. With w = exp((logit - best) / temperature) in float64 and a
number u from 0 to below 1:

    nucleus:  the shortest beginning with sum(w) >= top_p * sum(w of all k)
    likely:   w >= min_p
    drawn:    the last token of the shortest beginning with sum(w) > u * sum(w of what is left)

listed   [n, most] int32: the tokens of each row in the order of their ids, and their logits, `values` float32; of a row
         with top-k k the first k are written; `most` is a multiple of 64
all others as in `rows`
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

from .case import Case
from .rows import BLOCK, Drawn, Requests, Scratch, edited_row, finish, number_of
from .search import COUNTED, HIGHEST, LOWEST, WEIGHED, beginning, float_of, mass, measured, on_edge

TILE, LISTED_TILE = 4096, 1024
"""Tokens of a row, or of a list, that are looked at once. Most lists are short."""
LISTED = 2**23
"""Tokens that are listed at once, of all rows: 64 MiB."""


@triton.jit
def _list_kernel(
    listed,
    values,
    work,
    peaks,
    logits,
    numbers,
    places,
    rows,
    vocab,
    stride,
    num_blocks,
    most,
    TILE: tl.constexpr,
):
    """One row's likeliest tokens."""
    own = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + own).to(tl.int64)
    base = edited_row(logits, work, places, row, vocab, stride)
    top_k = number_of(numbers, row, 1)
    lowest, highest = tl.full((), LOWEST, tl.int32), tl.full((), HIGHEST, tl.int32)
    # As many logits are as high as the peak in that place, and there are fewer peaks to look at.
    if top_k <= num_blocks:
        lowest, count = beginning(peaks + row * num_blocks, 0, 1, num_blocks, top_k, lowest, highest, COUNTED, TILE)
    edge, on = beginning(base, 0, 1, vocab, top_k, lowest, highest, COUNTED, TILE)
    at_edge, before = tl.zeros((), tl.int32), tl.zeros((), tl.int32)
    for at in range(0, vocab, TILE):
        token, key, weight = measured(base, 0, 1, at, vocab, COUNTED, TILE)
        equal = (key == edge).to(tl.int32)
        # Never a token past the end: there are more than top-k, and they come first.
        keep = (key > edge) | ((equal > 0) & (at_edge + tl.cumsum(equal, 0) <= on))
        number = before + tl.cumsum(keep.to(tl.int32), 0) - 1
        # Of a row with NaN, which is over all edges, more would be kept.
        inside = keep & (number < top_k)
        tl.store(listed + own * most + number, token, mask=inside)
        tl.store(values + own * most + number, float_of(key), mask=inside)
        at_edge += tl.sum(equal, 0)
        before += tl.sum(keep.to(tl.int32), 0)


@triton.jit
def _extent(values, count, inverse, min_p, TILE: tl.constexpr):
    """The largest of listed logits, and the smallest key of those that min-p leaves."""
    highest = tl.full((TILE,), float("-inf"), tl.float32)
    for at in range(0, count, TILE):
        place = at + tl.arange(0, TILE)
        highest = tl.maximum(highest, tl.load(values + place, mask=place < count, other=float("-inf")))
    best = tl.max(highest, 0)
    least = tl.full((TILE,), HIGHEST, tl.int32)
    for at in range(0, count, TILE):
        place, key, weight = measured(values, best, inverse, at, count, WEIGHED, TILE)
        least = tl.minimum(least, tl.where(weight >= min_p, key, HIGHEST))
    return best, tl.min(least, 0)


@triton.jit
def _topk_kernel(
    drawn,
    logprobs,
    statuses,
    listed,
    values,
    stats,
    logits,
    numbers,
    places,
    counts,
    rows,
    vocab,
    stride,
    chunks,
    most,
    CHUNKS: tl.constexpr,
    TILE: tl.constexpr,
):
    """One row, from its list."""
    own = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + own).to(tl.int64)
    listed, values = listed + own * most, values + own * most
    inverse, count = 1.0 / number_of(numbers, row, 0), number_of(numbers, row, 1).to(tl.int32)
    top_p, min_p, uniform = number_of(numbers, row, 2), number_of(numbers, row, 3), number_of(numbers, row, 4)
    best, least = _extent(values, count, inverse, min_p, TILE)
    lowest, highest = tl.full((), LOWEST, tl.int32), tl.full((), HIGHEST, tl.int32)
    edge, on = lowest - 1, lowest * 0
    if top_p < 1.0:
        target = top_p * mass(values, best, inverse, count, edge, on, WEIGHED, TILE)
        edge, on = beginning(values, best, inverse, count, target, lowest, highest, WEIGHED, TILE)
    if least > edge:
        edge, on = least - 1, lowest * 0
    whole = mass(values, best, inverse, count, edge, on, WEIGHED, TILE)
    # What weighs more than a number weighs the next one or more; the product is below the whole, rounded too.
    target = ((uniform * whole).to(tl.int64, bitcast=True) + 1).to(tl.float64, bitcast=True)
    found, number = beginning(values, best, inverse, count, target, edge, highest, WEIGHED, TILE)
    number = tl.where(found == edge, tl.minimum(number, on), number)
    token = tl.load(listed + tl.maximum(on_edge(values, best, inverse, count, found, number, WEIGHED, TILE), 0))
    left = (best > float("-inf")) & (best < float("inf"))
    finish(
        drawn, logprobs, statuses, logits, stats, places, counts, row, token, left, vocab, stride, chunks, CHUNKS
    )  # fmt: skip


def draw_topk(drawn: Drawn, logits: Tensor, scratch: Scratch, requests: Requests, rows: Tensor) -> None:
    """Draw some rows [n], each from the tokens that its top-k leaves; it is below the size of the vocabulary."""
    chunks = scratch.stats.shape[1]
    for piece in rows.split(max(LISTED // requests.most, 1)):
        listed, values = lists(logits, scratch, requests, piece)
        _topk_kernel[(len(piece),)](
            *drawn, listed, values, scratch.stats, logits, requests.numbers, requests.places, requests.counts, piece,
            logits.shape[1], logits.stride(0), chunks, listed.shape[1], CHUNKS=triton.next_power_of_2(chunks),
            TILE=LISTED_TILE, num_warps=8, enable_fp_fusion=True,
        )  # fmt: skip


def lists(logits: Tensor, scratch: Scratch, requests: Requests, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The top-k of some rows [n]: `listed` and `values`."""
    # No row's bits may depend on how long the others' lists are, so all are aligned.
    most = triton.cdiv(requests.most, BLOCK) * BLOCK
    listed = torch.empty((len(rows), most), dtype=torch.int32, device=logits.device)
    values = torch.empty((len(rows), most), dtype=torch.float32, device=logits.device)
    _list_kernel[(len(rows),)](
        listed, values, scratch.work, scratch.peaks, logits, requests.numbers, requests.places, rows, logits.shape[1],
        logits.stride(0), scratch.peaks.shape[1], most, TILE=TILE, num_warps=16, enable_fp_fusion=True,
    )  # fmt: skip
    return listed, values


def signatures() -> list[Case]:
    """What is worth compiling ahead of time."""
    shared = {
        **dict.fromkeys(("values", "logits"), "*fp32"),
        **dict.fromkeys(("listed", "rows"), "*i32"),
        **dict.fromkeys(("vocab", "stride"), "i32"),
        "numbers": "*fp64",
        "places": "*i64",
        "most": "i32:16",
    }
    listing = shared | {"work": "*fp32", "peaks": "*fp32", "num_blocks": "i32:16"}
    drawing = shared | {"drawn": "*i64", "logprobs": "*fp32", "statuses": "*i32", "stats": "*fp32"}
    drawing |= {"counts": "*i32", "chunks": "i32"}
    return [
        Case("sampling top-k, list", _list_kernel, listing, {"TILE": TILE}, 16, 3),
        Case("sampling top-k, draw", _topk_kernel, drawing, {"CHUNKS": 64, "TILE": LISTED_TILE}, 8, 3),
    ]
