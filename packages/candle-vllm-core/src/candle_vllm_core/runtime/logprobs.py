"""Log probabilities in a model's raw distribution: of the tokens that were drawn, and of a prompt's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .logits import Rows, leaders
from .request import Request
from .scheduler import Step


@dataclass(frozen=True, slots=True)
class RowLogprobs:
    """Log probabilities at one position, of the logits as they came."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens and their log probabilities, best first."""


def raw_logprobs(rows: Rows, vocab: int, tokens: Sequence[int], counts: Sequence[int]) -> list[RowLogprobs]:
    """Of each row's token, and of its `counts` likeliest tokens."""
    logprobs = rows.logits[:, :vocab].log_softmax(-1)
    chosen = logprobs.gather(-1, torch.tensor(tokens, device=logprobs.device)[:, None])[:, 0].tolist()
    tops = _likeliest(rows, logprobs, min(max(counts), vocab))
    return [
        RowLogprobs(token, logprob, tuple(top[:count]))
        for token, logprob, top, count in zip(tokens, chosen, tops, counts, strict=True)
    ]


def _likeliest(rows: Rows, logprobs: Tensor, count: int) -> list[list[tuple[int, float]]]:
    """Each row's `count` likeliest tokens that have a chance, with their log probabilities."""
    if not count:
        return [[]] * len(logprobs)
    top = leaders(rows, count)
    pairs = zip(top.tolist(), logprobs.gather(-1, top).tolist(), strict=True)
    return [[(token, logprob) for token, logprob in zip(*pair, strict=True) if logprob > -math.inf] for pair in pairs]


@dataclass(frozen=True, slots=True)
class PromptTarget:
    """A token of a prompt whose log probability is asked for."""

    request: Request
    row: int
    """The token before it, as its place among the step's tokens."""
    token: int


def prompt_targets(step: Step) -> Iterator[PromptTarget]:
    """The prompt tokens that a step can give log probabilities of; those of a request in their order.

    Raises:
        RuntimeError: a slice begins after a token whose successor's log probability was never computed.
    """
    begin = 0
    for part in step:
        request = part.request
        if request.params.prompt_logprobs is not None:
            known, last = len(request.prompt_logprobs), len(request.prompt) - 1
            if known < min(part.start, last):
                raise RuntimeError(f"request {request.id} has no log probabilities of tokens {known} to {part.start}")
            for position in range(max(part.start, known), min(part.stop, last)):
                yield PromptTarget(request, begin + position - part.start, request.prompt[position + 1])
        begin += part.stop - part.start
