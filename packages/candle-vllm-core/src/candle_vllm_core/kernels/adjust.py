"""What requests change in their logits, and what draws take of them, in one reading of the vocabulary: `adjust`.

For the logit x of a token that the row's edits add a to (minus infinity bans it), that the answer has c times, and that
is in the prompt or the answer where `seen`:

    x <- x + a
    x <- x / repetition if x > 0 else x * repetition,  where seen
    x <- x - (c * frequency + (c > 0) * presence)
    x <- -inf,  where the mask's bit is not set

Each operation is rounded by itself, in this order, so the result is that of the same operations on a CPU, bit for bit.
The layout of all tensors is in `rows`.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

from .case import Case
from .rows import BLOCK, CHUNK, Requests, Scratch, number_of, place_of

EDITS = 128
"""Edits of a row that are looked through at once."""


@triton.jit
def _edits_before(tokens, start, stop, limit, EDITS: tl.constexpr):
    """How many of the edits from `start` up to `stop` are of tokens below a limit."""
    found = tl.zeros((), tl.int32)
    for at in range(start, stop, EDITS):
        number = at + tl.arange(0, EDITS)
        token = tl.load(tokens + number, mask=number < stop, other=2147483647)
        found += tl.sum((token < limit).to(tl.int32), 0)
    return found


@triton.jit
def _edited(
    x, token, row, numbers, places, tokens, amounts, words, counts, vocab, EDITS: tl.constexpr, CHUNK: tl.constexpr
):
    """The logits of a chunk of tokens after all edits."""
    inside = token < vocab
    first = tl.program_id(1) * CHUNK
    start, stop = place_of(places, row, 0), place_of(places, row, 1)
    begin = start + _edits_before(tokens, start, stop, first, EDITS)
    end = start + _edits_before(tokens, start, stop, first + CHUNK, EDITS)
    for edit in range(begin, end):
        x = tl.where(token == tl.load(tokens + edit), x + tl.load(amounts + edit), x)
    slot = place_of(places, row, 3)
    if slot >= 0:
        repetition, frequency = number_of(numbers, row, 5).to(tl.float32), number_of(numbers, row, 6).to(tl.float32)
        presence = number_of(numbers, row, 7).to(tl.float32)
        seen = tl.load(counts + slot * vocab + token, mask=inside, other=0)
        count = (seen & 0x7FFFFFFF).to(tl.float32)
        lowered = tl.where(x > 0, tl.div_rn(x, repetition), x * repetition)
        x = tl.where(seen != 0, lowered - (count * frequency + tl.where(count > 0, presence, 0.0)), x)
    mask = place_of(places, row, 2)
    if mask >= 0:
        word = tl.load(words + mask * tl.cdiv(vocab, 32) + token // 32, mask=inside, other=0)
        x = tl.where((word >> (token % 32)) & 1 != 0, x, float("-inf"))
    return x


@triton.jit
def _adjust_kernel(
    work,
    peaks,
    sums,
    stats,
    logits,
    numbers,
    places,
    tokens,
    amounts,
    words,
    counts,
    vocab,
    stride,
    EDITS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One chunk of one row."""
    row, chunk, chunks = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    token = chunk * CHUNK + tl.arange(0, CHUNK)
    x = tl.load(logits + row * stride + token, mask=token < vocab, other=float("-inf"))
    best = tl.max(x, 0)
    broken = tl.max((x != x).to(tl.int32), 0)
    total = tl.sum(tl.where(x == float("-inf"), 0.0, tl.exp(x - best)), 0)
    cell = stats + (row * chunks + chunk) * 2
    tl.store(cell, tl.where(broken > 0, float("nan"), best))
    tl.store(cell + 1, total)
    place = place_of(places, row, 4)
    if place >= 0:
        x = _edited(x, token, row, numbers, places, tokens, amounts, words, counts, vocab, EDITS, CHUNK)
        tl.store(work + place * vocab + token, x, mask=token < vocab)
    blocks = tl.reshape(x, (CHUNK // BLOCK, BLOCK))
    highest = tl.max(blocks, 1)
    block = (row * chunks + chunk) * (CHUNK // BLOCK) + tl.arange(0, CHUNK // BLOCK)
    tl.store(peaks + block, highest)
    temperature = number_of(numbers, row, 0).to(tl.float32)
    if temperature > 0:
        each = tl.exp((blocks - highest[:, None]) * tl.div_rn(1.0, temperature))
        tl.store(sums + block, tl.sum(tl.where(blocks == float("-inf"), 0.0, each), 1))


def adjust(logits: Tensor, requests: Requests) -> Scratch:
    """Edit logits [rows, vocab] as requests say, into memory of their own, and find out what draws take of them."""
    rows, vocab = logits.shape
    chunks = triton.cdiv(vocab, CHUNK)
    peaks = torch.empty((rows, chunks * (CHUNK // BLOCK)), dtype=torch.float32, device=logits.device)
    stats = torch.empty((rows, chunks, 2), dtype=torch.float32, device=logits.device)
    scratch = Scratch(peaks.new_empty(requests.num_edited, vocab), peaks, torch.empty_like(peaks), stats)
    # Products and sums are rounded one by one, as on a CPU.
    _adjust_kernel[(rows, chunks)](
        *scratch, logits, *requests[:6], vocab, logits.stride(0), EDITS=EDITS, CHUNK=CHUNK, BLOCK=BLOCK, num_warps=8,
        enable_fp_fusion=False,
    )  # fmt: skip
    return scratch


def signatures() -> list[Case]:
    """What is worth compiling ahead of time."""
    floats = dict.fromkeys(("work", "peaks", "sums", "stats", "logits", "amounts"), "*fp32")
    others = {"numbers": "*fp64", "places": "*i64", "tokens": "*i32", "words": "*i32", "counts": "*i32"}
    types = {**floats, **others, "vocab": "i32", "stride": "i32"}
    return [Case("sampling adjust", _adjust_kernel, types, {"EDITS": EDITS, "CHUNK": CHUNK, "BLOCK": BLOCK}, 8, 3)]
