"""Drawing a token for each row without asking the host: `draw`.

The token is the one on which a number from 0 to below 1 falls when the interval is divided by probability. Rows without
a cut stand on it in the order of ids. With the weights of blocks s_b * exp((peak_b - best) / temperature), the block is
found by running sums over blocks, the token by those within it. Rows with top-p, min-p or a small top-k are drawn from
their NARROW likeliest tokens, in the order of their likelihood, of equals in that of ids: the sum of all that come
before a token is summed for each by comparing it with every other. With w = exp((logit - best) / temperature) in
float64:

    nucleus: the first n with sum(w_1 .. w_n) >= top_p * (sum(w_1 .. w_k) after top-k, else the sum over the vocabulary)
    likely:  w >= min_p

If more than all of them are left, the row is drawn in `nucleus`; rows with a larger top-k are drawn in `topk`.
Temperature 0 takes the first of the likeliest. A row's result depends on nothing but its own logits and numbers;
kernels follow each other, and none waits for the host.

waiting  [n] int32: whether a row with cuts is to be drawn in `nucleus`
all others as in `rows` and `leaders`
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

from .adjust import adjust
from .case import Case
from .leaders import leaders
from .nucleus import draw_nuclei
from .rows import (
    BLOCK,
    CHUNK,
    MOST_TOKENS,
    Drawn,
    Requests,
    Scratch,
    edited_row,
    find,
    finish,
    number_of,
)
from .topk import draw_topk

NARROW = 64
"""How many of the likeliest tokens rows with cuts are drawn from."""
# Tokens that are compared with all others at once: as many as registers hold.
_COMPARED = 32


@triton.jit
def _block_weights(peaks, sums, row, temperature, num_blocks, COUNT: tl.constexpr):
    """The largest logit, and what each block weighs beside a token of that: COUNT numbers in float64."""
    block = tl.arange(0, COUNT)
    peak = tl.load(peaks + row * num_blocks + block, mask=block < num_blocks, other=float("-inf"))
    own = tl.load(sums + row * num_blocks + block, mask=block < num_blocks, other=0.0).to(tl.float64)
    best = tl.max(peak, 0)
    distance = tl.where(peak == float("-inf"), -1e300, (peak.to(tl.float64) - best) / temperature)
    return block, peak, best, own * tl.exp(distance)


@triton.jit
def _whole_kernel(
    drawn,
    logprobs,
    statuses,
    work,
    peaks,
    sums,
    stats,
    logits,
    numbers,
    places,
    counts,
    rows,
    vocab,
    stride,
    chunks,
    CHUNKS: tl.constexpr,
    BLOCKS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row that is greedy or has no cut."""
    row = tl.load(rows + tl.program_id(0)).to(tl.int64)
    base = edited_row(logits, work, places, row, vocab, stride)
    temperature, uniform = number_of(numbers, row, 0), number_of(numbers, row, 4)
    greedy = temperature == 0
    # The sums of greedy rows were never written.
    divisor = tl.where(greedy, 1.0, temperature)
    block, peak, best, weights = _block_weights(peaks, sums, row, divisor, chunks * BLOCKS, CHUNKS * BLOCKS)
    within = tl.arange(0, BLOCK)
    left = (best > float("-inf")) & (best < float("inf"))
    if greedy:
        chosen = tl.min(tl.where(peak == best, block, CHUNKS * BLOCKS - 1), 0)
        x = tl.load(base + chosen * BLOCK + within, mask=chosen * BLOCK + within < vocab, other=float("-inf"))
        place = tl.min(tl.where(x == best, within, BLOCK - 1), 0)
    else:
        running = tl.cumsum(weights, 0)
        point = uniform * tl.max(running, 0)
        chosen = tl.maximum(find(running, weights, point, block, CHUNKS * BLOCKS), 0)
        x = tl.load(base + chosen * BLOCK + within, mask=chosen * BLOCK + within < vocab, other=float("-inf"))
        distance = (x - best) * tl.div_rn(tl.full((), 1.0, tl.float32), divisor.to(tl.float32))
        each = tl.where(x == float("-inf"), 0.0, tl.exp(distance)).to(tl.float64)
        before = tl.sum(tl.where(block == chosen - 1, running, 0.0), 0)
        place = tl.maximum(find(before + tl.cumsum(each, 0), each, point, within, BLOCK), 0)
    token = chosen * BLOCK + place
    finish(
        drawn, logprobs, statuses, logits, stats, places, counts, row, token, left, vocab, stride, chunks, CHUNKS
    )  # fmt: skip


@triton.jit
def _mass(peaks, sums, row, best, temperature, num_blocks, COUNT: tl.constexpr, PART: tl.constexpr):
    """What all tokens of a row weigh beside one of the largest logit."""
    mass = tl.zeros((), tl.float64)
    for at in range(0, COUNT, PART):
        block = at + tl.arange(0, PART)
        peak = tl.load(peaks + row * num_blocks + block, mask=block < num_blocks, other=float("-inf"))
        own = tl.load(sums + row * num_blocks + block, mask=block < num_blocks, other=0.0).to(tl.float64)
        distance = tl.where(peak == float("-inf"), -1e300, (peak.to(tl.float64) - best) / temperature)
        mass += tl.sum(own * tl.exp(distance), 0)
    return mass


@triton.jit
def _before(tokens, values, value, token, best, temperature, WIDTH: tl.constexpr, COMPARED: tl.constexpr):
    """Of each token how many of the others are likelier, and what those weigh."""
    rank, before = tl.zeros((WIDTH,), tl.int32), tl.zeros((WIDTH,), tl.float64)
    for at in range(0, WIDTH, COMPARED):
        number = at + tl.arange(0, COMPARED)
        other, its_token = tl.load(values + number)[None, :], tl.load(tokens + number)[None, :]
        likelier = (other > value[:, None]) | ((other == value[:, None]) & (its_token < token[:, None]))
        weight = tl.exp((other.to(tl.float64) - best) / temperature)
        rank += tl.sum(likelier.to(tl.int32), 1)
        before += tl.sum(tl.where(likelier, weight, 0.0), 1)
    return rank, before


@triton.jit
def _cut_kernel(
    drawn,
    logprobs,
    statuses,
    waiting,
    tokens,
    values,
    peaks,
    sums,
    stats,
    logits,
    numbers,
    places,
    counts,
    rows,
    vocab,
    stride,
    chunks,
    CHUNKS: tl.constexpr,
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
    COMPARED: tl.constexpr,
):
    """One row with cuts, from its WIDTH likeliest tokens."""
    own = tl.program_id(0)
    row = tl.load(rows + own).to(tl.int64)
    temperature, top_k, top_p = number_of(numbers, row, 0), number_of(numbers, row, 1), number_of(numbers, row, 2)
    min_p, uniform = number_of(numbers, row, 3), number_of(numbers, row, 4)
    number = own * WIDTH + tl.arange(0, WIDTH)
    token, value = tl.load(tokens + number), tl.load(values + number)
    best = tl.max(value, 0)
    left = (best > float("-inf")) & (best < float("inf"))
    rank, before = _before(tokens + own * WIDTH, values + own * WIDTH, value, token, best, temperature, WIDTH, COMPARED)
    weight = tl.where(rank < top_k, tl.exp((value.to(tl.float64) - best) / temperature), 0.0)
    known = tl.sum(weight, 0)
    running = tl.where(rank < top_k, before + weight, known)
    total = known
    if top_k >= vocab:
        total = _mass(peaks, sums, row, best, temperature, chunks * BLOCKS, CHUNKS * BLOCKS, BLOCKS)
    nucleus = tl.sum((running < top_p * total).to(tl.int32), 0) + 1
    likely = tl.sum((weight >= min_p).to(tl.int32), 0)
    kept = tl.minimum(nucleus, likely + (likely == WIDTH).to(tl.int32))
    waits = left & (kept > WIDTH) & (top_k >= vocab)
    tl.store(waiting + own, waits.to(tl.int32))
    if waits:
        return
    weight = tl.where(rank < kept, weight, 0.0)
    place = find(running, weight, uniform * tl.sum(weight, 0), rank, WIDTH)
    chosen = tl.max(tl.where(rank == place, token, 0), 0)
    finish(
        drawn, logprobs, statuses, logits, stats, places, counts, row, chosen, left, vocab, stride, chunks, CHUNKS
    )  # fmt: skip


def draw(logits: Tensor, requests: Requests) -> Drawn:
    """Draw a token for each row of logits [rows, vocab] in float32, and count it; the result stays on the device.

    Raises:
        ValueError: shapes, types or strides are none that the kernels take.
    """
    rows, vocab = logits.shape
    if logits.dtype != torch.float32 or logits.stride(1) != 1:
        raise ValueError(f"the logits of a row must lie side by side in float32, not in {logits.dtype}")
    if not 0 < vocab <= MOST_TOKENS or len(requests.numbers) != rows:
        raise ValueError(f"there are {len(requests.numbers)} requests for logits {(rows, vocab)}")
    drawn = Drawn(
        torch.empty(rows, dtype=torch.int64, device=logits.device),
        torch.empty(rows, dtype=torch.float32, device=logits.device),
        torch.empty(rows, dtype=torch.int32, device=logits.device),
    )
    if not rows:
        return drawn
    scratch = adjust(logits, requests)
    shape = _shape(scratch)
    if len(requests.whole):
        _whole_kernel[(len(requests.whole),)](
            *drawn, *scratch, logits, requests.numbers, requests.places, requests.counts, requests.whole, vocab,
            logits.stride(0), scratch.stats.shape[1], **shape, BLOCK=BLOCK, num_warps=8, enable_fp_fusion=True,
        )  # fmt: skip
    if len(requests.narrow):
        _draw_narrow(drawn, logits, scratch, requests, requests.narrow)
    if len(requests.wide):
        draw_topk(drawn, logits, scratch, requests, requests.wide)
    return drawn


def _draw_narrow(drawn: Drawn, logits: Tensor, scratch: Scratch, requests: Requests, rows: Tensor) -> None:
    tokens, values = leaders(logits, scratch, requests, rows, NARROW)
    waiting = torch.empty(len(rows), dtype=torch.int32, device=logits.device)
    _cut_kernel[(len(rows),)](
        *drawn, waiting, tokens, values, *scratch[1:], logits, requests.numbers, requests.places, requests.counts, rows,
        logits.shape[1], logits.stride(0), scratch.stats.shape[1], **_shape(scratch), WIDTH=NARROW,
        COMPARED=_COMPARED, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    draw_nuclei(drawn, logits, scratch, requests, rows, waiting)


def _shape(scratch: Scratch) -> dict[str, int]:
    chunks = scratch.stats.shape[1]
    return {"CHUNKS": triton.next_power_of_2(chunks), "BLOCKS": CHUNK // BLOCK}


def signatures() -> list[Case]:
    """What is worth compiling ahead of time."""
    floats = dict.fromkeys(("logprobs", "values", "peaks", "sums", "stats", "logits"), "*fp32")
    integers = {**dict.fromkeys(("statuses", "counts", "rows", "waiting", "tokens"), "*i32"), "places": "*i64"}
    types = {
        **floats,
        **integers,
        "drawn": "*i64",
        "numbers": "*fp64",
        **dict.fromkeys(("vocab", "stride", "chunks"), "i32"),
    }
    shape = {"CHUNKS": 64, "BLOCKS": CHUNK // BLOCK}
    whole = {name: kind for name, kind in types.items() if name not in ("waiting", "tokens", "values")} | {
        "work": "*fp32"
    }
    cut = {**shape, "WIDTH": NARROW, "COMPARED": _COMPARED}
    return [
        Case("sampling without cuts", _whole_kernel, whole, {**shape, "BLOCK": BLOCK}, 8, 3),
        Case("sampling with cuts", _cut_kernel, types, cut, 4, 3),
    ]
