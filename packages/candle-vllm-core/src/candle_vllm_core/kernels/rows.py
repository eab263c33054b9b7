"""How the rows of a step are to be drawn, as the kernels of `sampling` read it, and what they all do.

numbers   [rows, 8] float64: temperature (0: the likeliest token), top-k and top-p (infinite: off), min-p, the number
          from 0 to below 1 that the token is found with, penalties of repetition, frequency and presence
places    [rows, 5] int64: where the row's edits begin and end, its mask, its counts, and its place in `work`; -1: none
tokens    [edits] int32 in ascending order within a row, and what is added to their logits, `amounts` [edits] float32
words     [masks, vocab / 32 rounded up] int32: token t may be drawn where bit t % 32 of word t // 32 is set
counts    [slots, vocab] int32: how often each token is in the answer; negative (bit 31) if it is in the prompt
logits    [rows, vocab] float32, `stride` apart
work      [edited rows, vocab] float32: the logits after all edits
peaks     [rows, blocks] float32: the largest of each block of 64 of them
sums      [rows, blocks] float32: of exp((logit - peak) / temperature) over each block
stats     [rows, chunks, 2] float32, of the logits as they came: the largest of a chunk (NaN if it has one), and the sum
          of exp(logit - largest)
drawn     [rows] int64, -1 where nothing could be; `logprobs` [rows] float32, in the raw distribution; `statuses` [rows]
          int32
"""

from __future__ import annotations

from typing import NamedTuple

import triton
from torch import Tensor
from triton import language as tl

DRAWN, NOT_FINITE, NOTHING_LEFT = 0, 1, 2
"""Statuses: a token was drawn; the logits are not finite; edits left no token that is."""
BLOCK = 64
CHUNK = 4096
"""Logits of one program."""
MOST_TOKENS = 2**18

_NUMBERS: tl.constexpr = tl.constexpr(8)
_PLACES: tl.constexpr = tl.constexpr(5)


class Requests(NamedTuple):
    """How each row is to be drawn; see the module's docstring. Rows [n] int32 are listed by the way of drawing."""

    numbers: Tensor
    places: Tensor
    tokens: Tensor
    amounts: Tensor
    words: Tensor
    counts: Tensor
    num_edited: int
    whole: Tensor
    """Greedy, and without any cut."""
    narrow: Tensor
    """With top-p or min-p, or a top-k of 64 at most."""
    wide: Tensor
    """With a larger top-k."""
    most: int
    """The largest top-k of the wide rows; 0 if there are none."""


class Scratch(NamedTuple):
    """What is found out about rows before they are drawn; see the module's docstring."""

    work: Tensor
    peaks: Tensor
    sums: Tensor
    stats: Tensor


class Drawn(NamedTuple):
    """What was drawn; see the module's docstring."""

    tokens: Tensor
    logprobs: Tensor
    statuses: Tensor


@triton.jit
def number_of(numbers, row, which: tl.constexpr):
    """One of a row's numbers."""
    return tl.load(numbers + row * _NUMBERS + which)


@triton.jit
def place_of(places, row, which: tl.constexpr):
    """One of a row's places."""
    return tl.load(places + row * _PLACES + which)


@triton.jit
def edited_row(logits, work, places, row, vocab, stride):
    """Where a row's logits are after all edits."""
    place = place_of(places, row, 4)
    base = logits + row * stride
    if place >= 0:
        base = work + place * vocab
    return base


@triton.jit
def raw_sum(stats, row, chunks, CHUNKS: tl.constexpr):
    """Whether the logits as they came are finite, the logarithm of the sum of their exponentials."""
    number = tl.arange(0, CHUNKS)
    cells, inside = stats + (row * chunks + number) * 2, number < chunks
    peaks, sums = tl.load(cells, mask=inside, other=float("-inf")), tl.load(cells + 1, mask=inside, other=0.0)
    broken = tl.max((peaks != peaks).to(tl.int32), 0)
    best = tl.max(peaks, 0)
    finite = (broken == 0) & (best < float("inf")) & (best > float("-inf"))
    return finite, best + tl.log(tl.sum(tl.where(peaks == float("-inf"), 0.0, sums * tl.exp(peaks - best)), 0))


@triton.jit
def find(running, weights, point, order, LAST: tl.constexpr):
    """The first in `order`, numbers below LAST, whose running sum is over `point`; never what weighs nothing."""
    first = tl.min(tl.where((running > point) & (weights > 0), order, LAST), 0)
    last = tl.max(tl.where(weights > 0, order, -1), 0)
    return tl.where(first < LAST, first, last)


@triton.jit
def finish(
    drawn,
    logprobs,
    statuses,
    logits,
    stats,
    places,
    counts,
    row,
    token,
    left,
    vocab,
    stride,
    chunks,
    CHUNKS: tl.constexpr,
):
    """Write down what was drawn for a row and count it; `left`: whether edits left anything."""
    finite, log_sum = raw_sum(stats, row, chunks, CHUNKS)
    fine = finite & left
    token = tl.where(fine, token, 0).to(tl.int64)
    tl.store(drawn + row, tl.where(fine, token, -1))
    tl.store(statuses + row, tl.where(fine, 0, tl.where(finite, 2, 1)))
    tl.store(logprobs + row, tl.load(logits + row * stride + token) - log_sum)
    slot = place_of(places, row, 3)
    if slot >= 0:
        cell = counts + slot * vocab + token
        tl.store(cell, tl.load(cell) + 1, mask=fine)
