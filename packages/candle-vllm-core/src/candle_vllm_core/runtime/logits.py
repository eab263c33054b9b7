"""The transforms between a model's logits and the tokens that may be drawn, one function each.

Each takes one request's row and gives a new one. A row is computed alone, in tensors of its own, so that its bits do
not depend on what else is in the batch. Tokens are ordered by likelihood, equals by id; every cut follows that order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 64  # logits looked at as one where only the largest of them matters
SMALL = 4096  # rows up to this are sorted whole
SHORTLIST = 256  # most nuclei are within this many of the likeliest tokens
LOWEST = torch.finfo(torch.float32).min
COLDEST = 1e-30  # float32 has no smaller temperature that leaves differences of logits finite numbers or infinite


@dataclass(frozen=True, slots=True)
class Candidates:
    """Tokens that may be drawn."""

    logits: Tensor
    """[candidates], float32; -inf is out."""
    tokens: Tensor | None = None
    """[candidates], int64; None: candidate i is token i."""

    def at(self, places: Tensor) -> Candidates:
        """Only the candidates at `places`, in that order."""
        return Candidates(self.logits[places], places if self.tokens is None else self.tokens[places])

    def without(self, out: Tensor) -> Candidates:
        """All candidates, those where `out` is true with no chance."""
        return Candidates(self.logits.masked_fill(out, -math.inf), self.tokens)

    def token(self, place: int) -> int:
        """The token id of the candidate at `place`."""
        return place if self.tokens is None else int(self.tokens[place])


def logit_bias(logits: Tensor, tokens: Tensor, bias: Tensor) -> Tensor:
    """Add `bias` [n] to the logits of `tokens` [n]."""
    return logits.index_copy(0, tokens, logits[tokens] + bias)


def repetition_penalty(logits: Tensor, tokens: Tensor, penalty: float) -> Tensor:
    """Divide positive logits of `tokens` [n] by `penalty` and multiply negative ones with it (Keskar et al. 2019)."""
    found = logits[tokens]
    return logits.index_copy(0, tokens, torch.where(found > 0, found / penalty, found * penalty))


def answer_penalties(logits: Tensor, tokens: Tensor, counts: Tensor, frequency: float, presence: float) -> Tensor:
    """Subtract `frequency` times `counts` [n], and `presence` where that is not 0, from the logits of `tokens` [n]."""
    return logits.index_copy(0, tokens, logits[tokens] - (counts * frequency + (counts > 0) * presence))


def mask(logits: Tensor, tokens: Tensor) -> Tensor:
    """Leave `tokens` [n] no chance."""
    return logits.index_fill(0, tokens, -math.inf)


def allow_only(logits: Tensor, words: Tensor) -> Tensor:
    """Leave only the tokens a chance whose bits are set in `words` [ceil(vocabulary / 32)], int32, lowest bit first.

    Raises:
        ValueError: `words` are of another vocabulary.
    """
    if words.shape != (-(-len(logits) // 32),) or words.dtype != torch.int32:
        raise ValueError(f"a mask of {list(words.shape)} {words.dtype} words is not one of {len(logits)} tokens")
    bits = (words[:, None] >> torch.arange(32, device=words.device, dtype=torch.int32)) & 1
    return logits.masked_fill(bits.flatten()[: len(logits)] == 0, -math.inf)


def temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divide logits by `temperature`, shifted so that the largest is 0: the same distribution, and no overflow."""
    return (logits - logits.amax()) / max(temperature, COLDEST)


def top_k(candidates: Candidates, k: int) -> Candidates:
    """Only the `k` likeliest candidates."""
    return candidates.at(leaders(candidates.logits, k))


def top_p(candidates: Candidates, p: float) -> Candidates:
    """Only the nucleus: the likeliest candidates that together reach probability `p` (Holtzman et al. 2020)."""
    probs = candidates.logits.softmax(0)
    mass = p * float(probs.sum(dtype=torch.float64))
    size = len(probs)
    places = leaders(candidates.logits, size if size <= SMALL else min(SHORTLIST, size // BLOCK))
    count = int((probs[places].double().cumsum(0) < mass).sum()) + 1
    return candidates.at(places[:count]) if count <= len(places) else candidates.without(~_nucleus(probs, mass))


def min_p(candidates: Candidates, p: float) -> Candidates:
    """Only candidates at least `p` times as likely as the likeliest one (Nguyen et al. 2024)."""
    return candidates.without(candidates.logits < candidates.logits.amax() + math.log(p))


def likeliest(logits: Tensor) -> Tensor:
    """The likeliest token of each row, the lowest id of equals: [rows, vocabulary] to [rows], int64."""
    blocks = _blocks(logits)
    block = blocks.amax(-1).argmax(-1, keepdim=True)
    inside = blocks.take_along_dim(block[..., None], -2).squeeze(-2).argmax(-1, keepdim=True)
    return (block * BLOCK + inside).squeeze(-1)


def leaders(logits: Tensor, count: int) -> Tensor:
    """Places of the `count` likeliest in their order; fewer, if only fewer have a chance."""
    if len(logits) <= SMALL:
        return _ordered(logits)[:count]
    blocks = _blocks(logits)
    peaks = blocks.amax(-1)
    # At least `count` logits are no less than the floor, and all that are lie in blocks whose peak is no less.
    floor = (peaks if count <= len(peaks) else logits).topk(min(count, len(logits)), sorted=False).values.amin()
    floor = floor.clamp(min=LOWEST)
    chosen = (peaks >= floor).nonzero()
    pool = blocks[chosen[:, 0]].flatten()
    places = (chosen * BLOCK + torch.arange(BLOCK, device=logits.device)).flatten()
    kept = (pool >= floor).nonzero()[:, 0]
    return places[kept[_ordered(pool[kept])[:count]]]


def _ordered(values: Tensor) -> Tensor:
    return values.sort(descending=True, stable=True).indices


def _blocks(values: Tensor, fill: float = -math.inf) -> Tensor:
    """[..., n] as [..., blocks, BLOCK]."""
    missing = -values.shape[-1] % BLOCK
    padded = F.pad(values, (0, missing), value=fill) if missing else values
    return padded.reshape(*values.shape[:-1], -1, BLOCK)


def _nucleus(probs: Tensor, mass: float) -> Tensor:
    """Which of the likeliest reach `mass` together. Not all are sorted: leading bits say in which bin that happens."""
    bins = probs.view(torch.int32) >> 16
    reached = torch.bincount(bins, weights=probs.double()).flip(0).cumsum(0)
    place = int((reached < mass).sum())
    edge, above = len(reached) - 1 - place, float(reached[place - 1]) if place else 0.0
    inside = (bins == edge).nonzero()[:, 0]
    inside = inside[_ordered(probs[inside])]
    count = int((above + probs[inside].double().cumsum(0) < mass).sum()) + 1
    within = bins > edge
    within[inside[:count]] = True
    return within


def draw(logits: Tensor, uniform: float) -> int:
    """The place that `uniform`, from 0 to below 1, falls on when the interval is divided by probability."""
    weights = logits.softmax(0)
    if len(weights) <= SMALL:
        running = weights.double().cumsum(0)
        return _find(running, uniform * float(running[-1]))
    blocks = _blocks(weights, 0.0)
    running = blocks.sum(-1, dtype=torch.float64).cumsum(0)
    point = uniform * float(running[-1])
    block = _find(running, point)
    before = float(running[block - 1]) if block else 0.0
    return block * BLOCK + _find(blocks[block].double().cumsum(0), point - before)


def _find(running: Tensor, point: float) -> int:
    """The first place whose running sum is over `point`; what has no weight is never found."""
    return int((running <= min(point, math.nextafter(float(running[-1]), 0.0))).sum())
