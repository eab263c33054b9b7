"""`Sampler`: draws one token for each request of a step.

```text
sampler = Sampler(vocab_size, eos_token_ids)
sampled = sampler.sample(logits, requests)  # logits: [requests, vocabulary]
sampler.forget(request_id)  # when a request has ended
```

Order: logit bias, repetition penalty, frequency and presence penalties, EOS and stop ids masked until `min_tokens`, the
row's own mask, temperature, top-k, top-p, min-p, draw; what a request does not use is skipped. Temperature 0 takes the
likeliest token after the penalties, the lowest id of equals. Log probabilities are those of the logits as they came.

The draw inverts the distribution function at one number that is a hash of the request's seed and the token's position.
So a seeded request gives the same tokens whatever it is batched with, and after it was preempted and computed again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import torch
from torch import Tensor

from ..types import GenerationParams
from . import logits as transforms
from .logits import Candidates


class SamplingRow(Protocol):
    """What the sampler must know of a request."""

    @property
    def id(self) -> int:
        """Names the request from one step to the next."""

    @property
    def params(self) -> GenerationParams:
        """How it is to be drawn."""

    @property
    def prompt(self) -> Sequence[int]:
        """Token ids of the prompt."""

    @property
    def generated(self) -> Sequence[int]:
        """Token ids of the answer so far."""

    @property
    def seed(self) -> int:
        """64 bits that the request's draws are made of."""

    @property
    def allowed(self) -> Tensor | None:
        """Which tokens may be drawn now: int32 words [ceil(vocabulary / 32)], token t is bit t % 32 of word t // 32.

        None: every token. The mask comes after bias and penalties and before temperature; a row that it leaves nothing
        fails alone.
        """


@dataclass(frozen=True, slots=True)
class RowLogprobs:
    """Log probabilities at one position, of the logits as they came."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens and their log probabilities, best first."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was drawn, one entry for each row."""

    tokens: list[int]
    """-1 where there is an error."""
    logprobs: list[RowLogprobs | None]
    """None for rows that did not ask."""
    errors: list[str | None]
    """Why nothing could be drawn for a row; other rows are not touched by it."""


class Sampler:
    """Draws tokens, each request's by its own parameters. Only one thread may use it."""

    def __init__(self, vocab_size: int, eos_token_ids: Iterable[int] = ()) -> None:
        """`eos_token_ids` are masked until a request's `min_tokens`."""
        self._vocab_size = vocab_size
        self._eos = frozenset(token for token in eos_token_ids if 0 <= token < vocab_size)
        self._histories: dict[int, _History] = {}

    @torch.inference_mode()
    def sample(self, logits: Tensor, rows: Sequence[SamplingRow]) -> Sampled:
        """Draw a token for each row of `logits` [rows, vocabulary].

        Raises:
            ValueError: `logits` has another shape.
        """
        if logits.shape != (len(rows), self._vocab_size):
            raise ValueError(f"logits are {list(logits.shape)}, {[len(rows), self._vocab_size]} are needed")
        if not rows:
            return Sampled([], [], [])
        logits = logits.float()
        if all(_takes_likeliest(row) for row in rows):
            return _take_likeliest(logits)
        tokens, logprobs, errors = [], [], []
        for row, request in zip(logits, rows, strict=True):
            token, logprob, error = self._sample_row(row, request)
            tokens.append(token)
            logprobs.append(logprob)
            errors.append(error)
        return Sampled(tokens, logprobs, errors)

    def forget(self, request_id: int) -> None:
        """Drop what is kept for a request."""
        self._histories.pop(request_id, None)

    def _sample_row(self, logits: Tensor, row: SamplingRow) -> tuple[int, RowLogprobs | None, str | None]:
        try:
            _check(logits, "the model computed logits that are not finite")
            token = self._draw(logits, row)
            return token, _logprobs(logits, token, row.params), None
        except (ArithmeticError, IndexError, RuntimeError, ValueError) as error:
            return -1, None, f"no token could be drawn: {error}"

    def _draw(self, logits: Tensor, row: SamplingRow) -> int:
        params, raw = row.params, logits
        logits = self._penalized(logits, row)
        if logits is not raw:
            _check(logits, "bias, penalties and masks left no token that is finite")
        if params.greedy:
            return int(transforms.likeliest(logits[None]))
        if params.temperature != 1.0:
            logits = transforms.temperature(logits, params.temperature)
        candidates = Candidates(logits)
        if (top_k := params.effective_top_k) is not None and top_k < self._vocab_size:
            candidates = transforms.top_k(candidates, top_k)
        if params.top_p < 1.0:
            candidates = transforms.top_p(candidates, params.top_p)
        if params.min_p > 0.0:
            candidates = transforms.min_p(candidates, params.min_p)
        return candidates.token(transforms.draw(candidates.logits, uniform(row.seed, len(row.generated))))

    def _penalized(self, logits: Tensor, row: SamplingRow) -> Tensor:
        params, device = row.params, logits.device
        if params.logit_bias:
            tokens = torch.tensor(list(params.logit_bias), device=device)
            bias = torch.tensor(list(params.logit_bias.values()), dtype=torch.float32, device=device)
            logits = transforms.logit_bias(logits, tokens, bias)
        if params.repetition_penalty != 1.0:
            logits = transforms.repetition_penalty(logits, self._history(row, device).tokens, params.repetition_penalty)
        if params.frequency_penalty or params.presence_penalty:
            seen = self._history(row, device)
            logits = transforms.answer_penalties(
                logits, seen.tokens, seen.counts, params.frequency_penalty, params.presence_penalty
            )
        if ending := self._may_not_end_with(row):
            logits = transforms.mask(logits, torch.tensor(sorted(ending), device=device))
        if row.allowed is not None:
            logits = transforms.allow_only(logits, row.allowed.to(device))
        return logits

    def _may_not_end_with(self, row: SamplingRow) -> frozenset[int]:
        if len(row.generated) >= row.params.min_tokens:
            return frozenset()
        return frozenset(row.params.stop_token_ids) | (frozenset() if row.params.ignore_eos else self._eos)

    def _history(self, row: SamplingRow, device: torch.device) -> _History:
        history = self._histories.get(row.id)
        if history is None:
            history = self._histories[row.id] = _History(row.prompt, device)
        history.extend(row.generated)
        return history


class _History:
    """The distinct tokens of one request, and how often each is in the answer."""

    def __init__(self, prompt: Sequence[int], device: torch.device) -> None:
        self._places = {token: place for place, token in enumerate(dict.fromkeys(prompt))}
        self._num_taken = 0
        self.tokens = torch.tensor(list(self._places), dtype=torch.int64, device=device)
        self.counts = torch.zeros(len(self._places), device=device)

    def extend(self, generated: Sequence[int]) -> None:
        """Count the tokens of the answer that are new since the last call."""
        for token in generated[self._num_taken :]:
            place = self._places.setdefault(token, len(self._places))
            if place == len(self.tokens):
                self.tokens = torch.cat([self.tokens, self.tokens.new_tensor([token])])
                self.counts = torch.cat([self.counts, self.counts.new_zeros(1)])
            self.counts[place] += 1
        self._num_taken = len(generated)


def uniform(seed: int, position: int) -> float:
    """A number from 0 to below 1 for the token at `position`: the 53 highest bits of a BLAKE2b hash (RFC 7693)."""
    key = (seed % 2**64).to_bytes(8, "little") + position.to_bytes(8, "little")
    return (int.from_bytes(blake2b(key, digest_size=8).digest(), "little") >> 11) * 2.0**-53


def _takes_likeliest(row: SamplingRow) -> bool:
    params = row.params
    penalties = params.frequency_penalty or params.presence_penalty or params.repetition_penalty != 1.0
    changed = penalties or params.logit_bias or len(row.generated) < params.min_tokens or row.allowed is not None
    return params.greedy and not changed and not params.logprobs


def _take_likeliest(logits: Tensor) -> Sampled:
    tokens = transforms.likeliest(logits)
    finite = logits.gather(-1, tokens[:, None])[:, 0].isfinite().tolist()
    error = "no token could be drawn: the model computed logits that are not finite"
    return Sampled(
        [token if good else -1 for token, good in zip(tokens.tolist(), finite, strict=True)],
        [None] * len(finite),
        [None if good else error for good in finite],
    )


def _check(logits: Tensor, message: str) -> None:
    if not math.isfinite(float(logits.amax())):
        raise FloatingPointError(message)


def _logprobs(logits: Tensor, token: int, params: GenerationParams) -> RowLogprobs | None:
    if not params.logprobs:
        return None
    logprobs = logits.log_softmax(0)
    top = (
        transforms.leaders(logits, params.top_logprobs)
        if params.top_logprobs
        else logits.new_empty(0, dtype=torch.int64)
    )
    return RowLogprobs(token, float(logprobs[token]), tuple(zip(top.tolist(), logprobs[top].tolist(), strict=True)))
