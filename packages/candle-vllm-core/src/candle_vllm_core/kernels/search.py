"""How far the likeliest tokens of a row go until they weigh as much as is asked, found without sorting: `beginning`.

Tokens are ordered by keys, integers, greater ones first, and of equal keys by their places. Such a beginning is an edge
and a number: all tokens whose key is over the edge, and so many of those on it. The edge is sought by halving the
interval of keys, each time moved to the nearest key that a token has: at most as often as keys have bits. Keys and
weights of a logit x:

    COUNTED    the place of x among all floats; 1
    WEIGHED    the same; exp((x - best) * inverse) in float64
    ROUGH      the bits of the weight; exp((x - best) * inverse) in float32, -inf: 0

Sums are in float64, of every TILE-th token first, then over those. So they grow with what is summed, and those of one
row are the same in any batch.
"""

from __future__ import annotations

import triton
from triton import language as tl

COUNTED: tl.constexpr = tl.constexpr(0)
WEIGHED: tl.constexpr = tl.constexpr(1)
ROUGH: tl.constexpr = tl.constexpr(2)
LOWEST: tl.constexpr = tl.constexpr(-0x7F800001)
"""The key of minus infinity."""
HIGHEST: tl.constexpr = tl.constexpr(0x7F800000)
"""The key of infinity."""


@triton.jit
def ordinal(x):
    """Integers in the order of floats: of the bits of a negative one all but the sign are flipped."""
    # Zeros of both signs are equal.
    bits = tl.where(x == 0.0, 0.0, x).to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def float_of(key):
    """The float with this ordinal."""
    return (key ^ ((key >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def _weight(key, best, inverse, KIND: tl.constexpr):
    """What a token with this key weighs."""
    if KIND == COUNTED:
        weight = 1.0
    elif KIND == WEIGHED:
        weight = tl.exp((float_of(key).to(tl.float64) - best) * inverse)
    else:
        weight = key.to(tl.float32, bitcast=True).to(tl.float64)
    return weight


@triton.jit
def measured(base, best, inverse, at, length, KIND: tl.constexpr, TILE: tl.constexpr):
    """Places, keys and weights of TILE tokens from `at` on; those past the end are as likely as -inf."""
    place = at + tl.arange(0, TILE)
    x = tl.load(base + place, mask=place < length, other=float("-inf"))
    if KIND == COUNTED:
        key, weight = ordinal(x), tl.full((TILE,), 1, tl.int32)
    elif KIND == WEIGHED:
        key, weight = ordinal(x), tl.exp((x.to(tl.float64) - best) * inverse)
    else:
        rough = tl.where(x == float("-inf"), 0.0, tl.exp((x - best) * inverse))
        key, weight = rough.to(tl.int32, bitcast=True), rough.to(tl.float64)
    return place, key, weight


@triton.jit
def _nothing(KIND: tl.constexpr, TILE: tl.constexpr):
    """Sums of weights, still without any."""
    if KIND == COUNTED:
        nothing = tl.zeros((TILE,), tl.int32)
    else:
        nothing = tl.zeros((TILE,), tl.float64)
    return nothing


@triton.jit
def mass(base, best, inverse, length, edge, count, KIND: tl.constexpr, TILE: tl.constexpr):
    """What the tokens over an edge and `count` of those on it weigh."""
    reached = _nothing(KIND, TILE)
    for at in range(0, length, TILE):
        place, key, weight = measured(base, best, inverse, at, length, KIND, TILE)
        reached += tl.where(key > edge, weight, 0)
    return tl.sum(reached, 0) + tl.where(count > 0, count * _weight(edge, best, inverse, KIND), 0.0)


@triton.jit
def beginning(base, best, inverse, length, target, lowest, highest, KIND: tl.constexpr, TILE: tl.constexpr):
    """The edge of the shortest beginning that weighs `target` or more, and how many of the tokens on it are in it.

    All tokens with the key `lowest` or more weigh so much, and none is over `highest`.
    """
    # All from `low` on reach the target, all from `high` on do not. They come nearer whatever the sums are, even NaN.
    low, high, over = lowest.to(tl.int64), highest.to(tl.int64) + 1, tl.zeros((), tl.float64)
    while high - low > 1:
        middle = (low + (high - low) // 2).to(tl.int32)
        reached = _nothing(KIND, TILE)
        up, down = tl.zeros((TILE,), tl.int32) + high.to(tl.int32), tl.zeros((TILE,), tl.int32) + low.to(tl.int32)
        for at in range(0, length, TILE):
            place, key, weight = measured(base, best, inverse, at, length, KIND, TILE)
            reached += tl.where(key >= middle, weight, 0)
            up = tl.where(key >= middle, tl.minimum(up, key), up)
            down = tl.where(key < middle, tl.maximum(down, key), down)
        total = tl.sum(reached, 0).to(tl.float64)
        if total >= target:
            low = tl.min(up, 0).to(tl.int64)
        else:
            high = tl.max(down, 0).to(tl.int64) + 1
            over = total
    edge = low.to(tl.int32)
    missing = tl.ceil((target - over) / tl.maximum(_weight(edge, best, inverse, KIND), 1e-300))
    return edge, tl.minimum(tl.maximum(missing, 1.0), 1.0 * length).to(tl.int32)


@triton.jit
def on_edge(base, best, inverse, length, edge, number, KIND: tl.constexpr, TILE: tl.constexpr):
    """Where the token is that is this number, counted from 1, of those on an edge; if they are fewer, the last."""
    found, start, before = tl.zeros((), tl.int32), tl.zeros((), tl.int32), tl.zeros((), tl.int32)
    for at in range(0, length, TILE):
        place, key, weight = measured(base, best, inverse, at, length, KIND, TILE)
        count = tl.sum(((key == edge) & (place < length)).to(tl.int32), 0)
        if (found < number) & (count > 0):
            start, before = at, found
        found += count
    place, key, weight = measured(base, best, inverse, start, length, KIND, TILE)
    equal = (key == edge) & (place < length)
    rank = before + tl.cumsum(equal.to(tl.int32), 0)
    return tl.max(tl.where(equal & (rank <= number), place, -1), 0)
