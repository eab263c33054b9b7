"""The largest numbers of rows without sorting them: `leaders`.

Of a row's values the `width` largest are found, of equals the first, in the order of their places. Floats are compared
as the integers of `search.ordinal`. The largest t is sought such that `width` of them are t or more, one bit after the
other, by counting; then all over t are kept, and as many of those equal to t as are missing. Counts are of integers, so
the result is exact.

This is done twice: first for the largest logit of each block of 64, then for the logits of the blocks that were found.

places  [n, width] int32, of the blocks, then of the tokens
values  [n, width] float32, the logits of the tokens; -inf where a row has no more
all others as in `rows`
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

from .case import Case
from .rows import BLOCK, Requests, Scratch, edited_row
from .search import ordinal

# By how many values are looked at: a program has them all in registers.
_WARPS = {4096: 8}


@triton.jit
def _leaders_kernel(
    found,
    values,
    logits,
    work,
    peaks,
    places,
    chosen,
    rows,
    vocab,
    stride,
    num_blocks,
    WIDTH: tl.constexpr,
    COUNT: tl.constexpr,
    INSIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row: the WIDTH largest of COUNT values; INSIDE: of those of its `chosen` blocks, else of its peaks."""
    own = tl.program_id(0)
    row = tl.load(rows + own).to(tl.int64)
    place = tl.arange(0, COUNT)
    if INSIDE:
        place = tl.load(chosen + own * WIDTH + place // BLOCK) * BLOCK + place % BLOCK
        base = edited_row(logits, work, places, row, vocab, stride)
        value = tl.load(base + place, mask=place < vocab, other=float("-inf"))
    else:
        value = tl.load(peaks + row * num_blocks + place, mask=place < num_blocks, other=float("-inf"))
    key = ordinal(value)
    # The threshold over the lowest integer, bit by bit; `over` values are greater than it.
    low, step, over = tl.zeros((), tl.int64), tl.full((), 2**31, tl.int64), tl.zeros((), tl.int32)
    for _ in range(32):
        count = tl.sum((key >= (low + step - 2**31).to(tl.int32)).to(tl.int32), 0)
        low = tl.where(count >= WIDTH, low + step, low)
        over = tl.where(count >= WIDTH, over, count)
        step = step >> 1
    least = (low - 2**31).to(tl.int32)
    equal = (key == least).to(tl.int32)
    keep = (key > least) | ((equal > 0) & (tl.cumsum(equal, 0) <= WIDTH - over))
    at = own * WIDTH + tl.cumsum(keep.to(tl.int32), 0) - 1
    tl.store(found + at, place, mask=keep)
    if INSIDE:
        tl.store(values + at, value, mask=keep)


def leaders(logits: Tensor, scratch: Scratch, requests: Requests, rows: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The `width` likeliest tokens of some rows [n], in the order of their ids, and their logits: both [n, width]."""
    vocab, num_blocks = logits.shape[1], scratch.peaks.shape[1]
    blocks, tokens = (torch.empty((len(rows), width), dtype=torch.int32, device=logits.device) for _ in range(2))
    values = torch.empty((len(rows), width), dtype=torch.float32, device=logits.device)
    for found, inside in ((blocks, False), (tokens, True)):
        count = width * BLOCK if inside else max(triton.next_power_of_2(num_blocks), width)
        _leaders_kernel[(len(rows),)](
            found, values, logits, scratch.work, scratch.peaks, requests.places, blocks, rows, vocab, logits.stride(0),
            num_blocks, WIDTH=width, COUNT=count, INSIDE=inside, BLOCK=BLOCK, num_warps=_WARPS.get(count, 4),
            enable_fp_fusion=True,
        )  # fmt: skip
    return tokens, values


def signatures() -> list[Case]:
    """What is worth compiling ahead of time."""
    floats = dict.fromkeys(("values", "logits", "work", "peaks"), "*fp32")
    integers = {"found": "*i32", "places": "*i64", "chosen": "*i32", "rows": "*i32"}
    types = {**floats, **integers, **dict.fromkeys(("vocab", "stride", "num_blocks"), "i32")}
    return [
        Case(
            f"sampling leaders, {width} {'tokens' if inside else 'blocks'}",
            _leaders_kernel,
            types,
            {"WIDTH": width, "COUNT": count, "INSIDE": inside, "BLOCK": BLOCK},
            _WARPS[count],
            3,
        )
        for width, inside, count in ((64, False, 4096), (64, True, 64 * BLOCK))
    ]
