"""The reference of `sampling`, row by row, in plain torch and float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .rows import DRAWN, NOT_FINITE, NOTHING_LEFT, Drawn, Requests

SHORTLIST = 64
"""A nucleus of more tokens is drawn from in the order of their ids."""


def draw(logits: Tensor, requests: Requests) -> Drawn:
    """A token for each row of logits [rows, vocab], the log probability of each, and whether there was one."""
    found = [draw_row(row, number, requests) for number, row in enumerate(logits)]
    tokens, logprobs, statuses = zip(*found, strict=True)
    return Drawn(torch.tensor(tokens), torch.tensor(logprobs), torch.tensor(statuses, dtype=torch.int32))


def draw_row(logits: Tensor, number: int, requests: Requests) -> tuple[int, float, int]:
    """The same for one row."""
    if not math.isfinite(logits.max().item()):
        return -1, math.nan, NOT_FINITE
    edited = edit(logits, number, requests)
    if not math.isfinite(edited.max().item()):
        return -1, math.nan, NOTHING_LEFT
    token = _token(edited, *requests.numbers[number, :5].tolist())
    return token, logits.double().log_softmax(-1)[token].item(), DRAWN


def edit(logits: Tensor, number: int, requests: Requests) -> Tensor:
    """One row's logits [vocab] after all edits, in float32."""
    found = logits.clone()
    begin, end, mask, slot, _ = requests.places[number].tolist()
    for edited, amount in zip(requests.tokens[begin:end].tolist(), requests.amounts[begin:end], strict=True):
        found[edited] += amount
    repetition, frequency, presence = requests.numbers[number, 5:].float()
    if slot >= 0:
        seen = requests.counts[slot]
        counts = (seen & 0x7FFFFFFF).float()
        lowered = torch.where(found > 0, found / repetition, found * repetition)
        found = torch.where(seen != 0, lowered - (counts * frequency + (counts > 0) * presence), found)
    if mask >= 0:
        ids = torch.arange(len(found))
        bits = requests.words[mask][ids // 32] >> (ids % 32) & 1
        found = found.masked_fill(bits == 0, -math.inf)
    return found


def _token(logits: Tensor, temperature: float, top_k: float, top_p: float, min_p: float, uniform: float) -> int:
    if temperature == 0:
        return int(logits.argmax())
    order = logits.sort(descending=True, stable=True).indices
    weights = ((logits - logits.max()).double() / temperature).exp()[order]
    is_cut = top_k < len(logits) or top_p < 1 or min_p > 0
    weights[min(int(min(top_k, len(weights))), len(weights)) :] = 0
    reached = weights.cumsum(0) < top_p * weights.sum()
    kept = min(int(reached.sum()) + 1, int((weights >= min_p).sum()))
    if not is_cut or (kept > SHORTLIST and top_k >= len(logits)):
        order, places = order[:kept].sort()
        weights = weights[:kept][places]
    running = weights[:kept].cumsum(0)
    place = int(torch.searchsorted(running, uniform * running[-1:], right=True).clamp(max=kept - 1))
    return int(order[place])
