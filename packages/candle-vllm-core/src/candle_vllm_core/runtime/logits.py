"""The transforms between a model's logits and the tokens that are drawn, each for many rows at once.

A row's bits do not depend on what stands beside it: whatever is summed is summed within a row, in an order that only
the row's own width and parameters decide. That is so for `softmax`, whose kernel takes each row by itself, for sums
over blocks of one size, and for running sums; a plain sum over a row is cut differently when there is only one.

Tokens are ordered by likelihood, equals by id. Every cut follows that order, so it leaves a beginning of it: `leaders`
finds that beginning without sorting the vocabulary, and a cut is a count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..native import address, library

BLOCK = 64  # logits looked at as one where only the largest of them matters
PART = 8  # the same within a block, where many are looked for
FEW = 32
ALONE = 1 << 17
"""So many numbers are worth more than one thread."""
LOW_WORD = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Rows:
    """Logits of many rows, and where the large ones are."""

    base: Tensor
    """[all rows, width], contiguous; -inf has no chance. The width is a multiple of BLOCK."""
    peaks: Tensor
    """[rows, width / BLOCK], float32: the largest logit of each block."""
    best: Tensor
    """[rows, 1]: the largest logit of each; NaN if a row has one."""
    places: Tensor | None = None
    """[rows], int64: where in `base` each row is; None: they are all of it."""

    @classmethod
    def of(cls, logits: Tensor) -> Rows:
        """All of [rows, vocabulary]; where the vocabulary ends within a block, what is missing there has no chance."""
        missing = -logits.shape[-1] % BLOCK
        base = F.pad(logits, (0, missing), value=-math.inf) if missing else logits.contiguous()
        peaks = _peaks(base.view(len(base), -1, BLOCK))
        return cls(base, peaks, peaks.amax(-1, keepdim=True))

    def widened(self, room: Tensor) -> Rows:
        """All rows in float32, in `room`, which has as many numbers or more and is written over."""
        base = room[: self.base.numel()].view_as(self.base).copy_(self.base)
        return Rows(base, self.peaks, self.best, self.places)

    def take(self, places: Sequence[int]) -> Rows:
        """Only those at `places`, in ascending order."""
        first, stop = places[0], places[-1] + 1
        if len(places) == len(self.peaks):
            return self
        if stop - first == len(places) and self.places is None:
            return Rows(self.base[first:stop], self.peaks[first:stop], self.best[first:stop])
        index = torch.tensor(places, device=self.base.device)
        whole = index if self.places is None else self.places[index]
        return Rows(self.base, self.peaks[index], self.best[index], whole)

    @property
    def logits(self) -> Tensor:
        """[rows, width]; a copy only if they are not all of their base."""
        return self.base if self.places is None else self.base.index_select(0, self.places)

    def at(self, tokens: Tensor) -> Tensor:
        """[rows, n]: the logits of `tokens` [rows, n]."""
        return self.pieces(tokens, 1)

    def pieces(self, numbers: Tensor, width: int) -> Tensor:
        """[rows, n * width]: those with `numbers` [rows, n] of the pieces of `width` that each row can be cut into."""
        count = self.base.shape[-1] // width
        places = torch.arange(len(self.base), device=self.base.device) if self.places is None else self.places
        index = numbers + places[:, None] * count
        return self.base.view(-1, width).index_select(0, index.flatten()).view(len(numbers), -1)


def _peaks(pieces: Tensor) -> Tensor:
    """[rows, blocks] in float32: the largest of each block of [rows, blocks, BLOCK], NaN where one is."""
    found = library() if pieces.dtype == torch.bfloat16 and pieces.device.type == "cpu" else None
    if found is None:
        return pieces.amax(-1).float()
    peaks = torch.empty(pieces.shape[:-1], dtype=torch.float32)
    threads = torch.get_num_threads() if pieces.numel() >= ALONE else 1
    found.native_peaks(address(pieces), address(peaks), peaks.numel(), threads)
    return peaks


def add_bias(logits: Tensor, cells: Tensor, bias: Tensor) -> None:
    """Add `bias` [n] to the logits at `cells` [n], places in the flattened rows."""
    flat = logits.view(-1)
    flat[cells] = flat[cells] + bias


def penalize(logits: Tensor, cells: Tensor, counts: Tensor, penalties: Tensor) -> None:
    """Lower the logits at `cells` [n] of tokens that stood before, as `penalties` [n, 3] say.

    Repetition divides positive logits and multiplies negative ones (Keskar et al. 2019); frequency is subtracted once
    for each of `counts` [n], presence where the count is not 0.
    """
    repetition, frequency, presence = penalties.unbind(-1)
    flat = logits.view(-1)
    found = flat[cells]
    found = torch.where(found > 0, found / repetition, found * repetition)
    flat[cells] = found - (counts * frequency + (counts > 0) * presence)


def ban(logits: Tensor, cells: Tensor) -> None:
    """Leave the tokens at `cells` [n], places in the flattened rows, no chance."""
    logits.view(-1)[cells] = -math.inf


def allow_only(logits: Tensor, places: Tensor, words: Tensor) -> None:
    """Leave the rows at `places` [n] only the tokens with set bits in `words` [n, width / 32], lowest bit first."""
    bits = torch.arange(256, device=logits.device)[:, None] >> torch.arange(8, device=logits.device) & 1
    of_byte = torch.where(bits > 0, 0.0, -math.inf)
    penalties = of_byte.index_select(0, words.view(torch.uint8).int().flatten())
    logits.index_add_(0, places, penalties.view(len(words), -1))


def likeliest(rows: Rows) -> Tensor:
    """[rows, 1], int64: the likeliest token of each, the lowest id of equals."""
    block = rows.peaks.argmax(-1, keepdim=True)
    return block * BLOCK + rows.pieces(block, BLOCK).argmax(-1, keepdim=True)


def leaders(rows: Rows, count: int) -> Tensor:
    """[rows, count], int64: the likeliest tokens in their order; fewer if the rows have fewer.

    The blocks that have them are those with the highest peaks, of equal peaks the first ones: narrowed down to them,
    and to parts of them where they are many, few candidates are left to be ordered.
    """
    places = _order(rows.peaks, None, count)
    for width, part in ((BLOCK, PART), (PART, 1)) if count > FEW else ((BLOCK, 1),):
        found = rows.pieces(places, width)
        if part > 1:
            found = found.view(len(places), -1, part).amax(-1)
        inside = torch.arange(width // part, device=places.device)
        places = _order(found, (places[:, :, None] * (width // part) + inside).flatten(1), count)
    return places


def _order(values: Tensor, places: Tensor | None, count: int) -> Tensor:
    """The `places` (None: their number) of the `count` largest values of each row, in order, of equals the first."""
    if places is None:
        places = torch.arange(values.shape[-1], device=values.device)
    bits = (values + 0.0).view(torch.int32)  # of -0.0 the sum is 0.0
    ordinal = bits ^ (bits >> 31 & 0x7FFFFFFF)
    keys = ordinal.long() * (LOW_WORD + 1) - places
    return -keys.topk(min(count, keys.shape[-1]), dim=-1).values & LOW_WORD


def probabilities(rows: Rows, temperature: Tensor | None) -> Tensor:
    """[rows, width]: softmax of logits over `temperature` [rows, 1]; None: it is 1 for all.

    The largest logit is subtracted first, so that nothing overflows.
    """
    return (rows.logits if temperature is None else (rows.logits - rows.best).mul_(1.0 / temperature)).softmax(-1)


def block_sums(probs: Tensor) -> Tensor:
    """[rows, width / BLOCK] of probabilities [rows, width]."""
    return probs.view(len(probs), -1, BLOCK).sum(-1)


def blocks(probs: Tensor, numbers: Tensor) -> Tensor:
    """[rows, BLOCK]: one block of each row, those with `numbers` [rows, 1]."""
    first = torch.arange(len(probs), device=probs.device)[:, None] * (probs.shape[-1] // BLOCK)
    return probs.view(-1, BLOCK).index_select(0, (numbers + first)[:, 0])


def thin(probs: Tensor, top_p: float, min_p: float) -> Tensor:
    """One row [width] of probabilities, what top-p, then min-p cut off at 0: for cuts that leave many tokens."""
    least = probs.amax() * min_p
    return _keep_from(_keep_nucleus(probs, top_p) if top_p < 1.0 else probs, least)


def _keep_from(probs: Tensor, least: Tensor) -> Tensor:
    below = torch.nextafter(least, torch.full_like(least, -1.0))
    return F.threshold(probs, float(below), 0.0)


def _keep_nucleus(probs: Tensor, top_p: float) -> Tensor:
    """Not all are sorted: the leading bits of the probabilities say in which bin the mass is reached."""
    bins = probs.view(torch.int32) >> 16
    reached = torch.bincount(bins, weights=probs.double()).flip(0).cumsum(0)
    mass = top_p * float(reached[-1])
    place = int((reached < mass).sum())
    above = float(reached[place - 1]) if place else 0.0
    edge = np.flatnonzero(bins.cpu().numpy() == len(reached) - 1 - place)  # ten times as fast as torch's on a CPU
    inside = torch.from_numpy(edge).to(probs.device)
    inside = inside[probs[inside].sort(descending=True, stable=True).indices]
    last = int((above + probs[inside].double().cumsum(0) < mass).sum())
    kept = _keep_from(probs, probs[inside[min(last, len(inside) - 1)]])
    kept[inside[last + 1 :]] = 0.0
    return kept
