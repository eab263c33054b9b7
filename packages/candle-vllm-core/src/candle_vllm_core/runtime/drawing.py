"""How a token is drawn from probabilities: cuts are counts, and a draw is a search in running sums. No torch here.

What comes here is little: a few of the likeliest tokens of each row, or sums over blocks of its vocabulary. Arrays are
[rows, n] in float64, what is one number for each row is [rows, 1]. A running sum is made from its first number to its
last, so a row's is the same whatever stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.float64)

COLDEST = 1e-30  # of smaller temperatures quotients of float32 logits would not be finite


@dataclass(frozen=True, slots=True)
class Cuts:
    """How each row is drawn."""

    temperature: Floats
    top_k: Floats
    """Infinite: off."""
    top_p: Floats
    """Infinite: off."""
    min_p: Floats
    """0: off."""
    uniform: Floats
    """From 0 to below 1: which token it is to be."""

    @classmethod
    def of(cls, rows: Sequence[tuple[float, float, float, float, float]]) -> Cuts:
        """Of (temperature, top-k, top-p, min-p, uniform) for each row."""
        temperature, *others = np.array(rows, dtype=np.float64).T[:, :, None]
        return cls(np.maximum(temperature, COLDEST), *others)

    def take(self, places: slice | list[int]) -> Cuts:
        """Those of the rows at `places`."""
        columns = (self.temperature, self.top_k, self.top_p, self.min_p, self.uniform)
        return Cuts(*(column[places] for column in columns))


def likelihoods(logits: Floats, cuts: Cuts) -> Floats:
    """How likely the tokens with these logits, the highest first, are relative to the first; after top-k."""
    relative: Floats = np.exp((logits - logits[:, :1]) / cuts.temperature)
    relative[np.arange(logits.shape[-1]) >= cuts.top_k] = 0.0
    return relative


def num_kept(weights: Floats, total: Floats | float, cuts: Cuts) -> Ints:
    """How many of the likeliest tokens top-p and min-p leave; n + 1 if all n stay.

    Top-p keeps the first that reach it together, of the `total` weight of all tokens (Holtzman et al. 2020), min-p
    those at least so likely as that part of the likeliest (Nguyen et al. 2024).
    """
    nucleus = (weights.cumsum(-1) < cuts.top_p * total).sum(-1, keepdims=True) + 1
    likely = (weights >= cuts.min_p * weights[:, :1]).sum(-1, keepdims=True)
    kept: Ints = np.minimum(nucleus, likely + (likely == weights.shape[-1]))
    return kept


def most_beyond(peaks: NDArray[np.float32], weights: Floats, cuts: Cuts, size: int) -> Floats:
    """The most that all tokens but the likeliest, which have these `weights`, can weigh together.

    `peaks` are the highest logits of the blocks of `size` that the vocabulary is cut into: no token weighs more than
    its block's peak, and none of the others more than the last of the likeliest. Rounding is allowed for, and what is
    too small for float32.
    """
    best = peaks.max(-1, keepdims=True)
    heights = np.exp((peaks - best) / cuts.temperature.astype(np.float32))
    highest = np.minimum(heights, weights[:, -1:].astype(np.float32)).sum(-1, keepdims=True)
    most: Floats = highest.astype(np.float64) * (size * 1.001) + 1e-30
    return most


def draw_first(weights: Floats, count: Ints, uniform: Floats) -> Ints:
    """Which of the first `count` the number falls on when the interval is divided by weight."""
    running = weights.cumsum(-1)
    whole = pick(running, count - 1)
    return find(running, uniform * whole, whole)


def find(running: Floats, point: Floats, whole: Floats) -> Ints:
    """The first place whose running sum is over `point`; what has no weight is never found."""
    found: Ints = (running <= np.minimum(point, np.nextafter(whole, -math.inf))).sum(-1, keepdims=True)
    return found


def pick(values: NDArray[Number], places: Ints) -> NDArray[Number]:
    """The number of each row that is at its place."""
    return values[np.arange(len(values)), places[:, 0]][:, None]
