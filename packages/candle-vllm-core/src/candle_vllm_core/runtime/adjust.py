"""`Adjustments`: what requests change in their logits before anything is drawn, for many rows at once.

In this order: logit bias; repetition, frequency and presence penalties; EOS and stop ids until `min_tokens` and the
tokens that would complete a bad word, banned; the row's own mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..types import GenerationParams
from . import logits as transforms
from .bad_words import BadWords

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
Floats = np.ndarray[tuple[int], np.dtype[np.float32]]


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
    def bad_words(self) -> Sequence[Sequence[int]]:
        """The token sequences that the answer may not complete."""

    @property
    def allowed(self) -> Tensor | None:
        """Which tokens may be drawn now: int32 words [ceil(vocabulary / 32)], token t is bit t % 32 of word t // 32.

        None: every token. The mask comes after bias and penalties and before temperature; a row that it leaves nothing
        fails alone.
        """


class Adjustments:
    """Changes rows of logits as their requests ask, and keeps what that takes from one step to the next."""

    def __init__(self, vocab_size: int, eos_token_ids: Iterable[int] = ()) -> None:
        """`eos_token_ids` are banned until a request's `min_tokens`."""
        self._vocab_size = vocab_size
        self._eos = frozenset(token for token in eos_token_ids if 0 <= token < vocab_size)
        self._kept: dict[int, Kept] = {}

    @staticmethod
    def wanted(row: SamplingRow) -> bool:
        """Whether a row's logits are to be changed at all."""
        params = row.params
        return bool(
            row.allowed is not None
            or params.logit_bias
            or row.bad_words
            or len(row.generated) < params.min_tokens
            or has_penalties(params)
        )

    def apply(self, logits: Tensor, rows: Sequence[SamplingRow]) -> list[str | None]:
        """Change `logits` [rows, width] in place; what is wrong with each row."""
        edits, errors = _Edits(logits.shape[-1]), list[str | None]()
        for place, row in enumerate(rows):
            try:
                self._collect(edits, place, row)
                errors.append(None)
            except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
                errors.append(str(error))
        edits.apply(logits)
        return errors

    def forget(self, request_id: int) -> None:
        """Drop what is kept for a request."""
        self._kept.pop(request_id, None)

    def _collect(self, edits: _Edits, place: int, row: SamplingRow) -> None:
        params = row.params
        kept = self._kept.get(row.id)
        if kept is None:
            kept = self._kept[row.id] = Kept(row, self._vocab_size, self._eos)
        if params.logit_bias:
            edits.add_bias(place, *kept.bias)
        if has_penalties(params):
            kept.history.extend(row.generated)
            edits.penalize(place, kept.history, params)
        if len(row.generated) < params.min_tokens:
            edits.ban(place, kept.ending)
        if row.bad_words:
            edits.ban(place, known_tokens(kept.bad_words.banned(row.prompt, row.generated), self._vocab_size))
        if row.allowed is not None:
            edits.allow_only(place, checked_mask(row.allowed, self._vocab_size))


def has_penalties(params: GenerationParams) -> bool:
    """Whether a request lowers the logits of tokens that stood before."""
    return bool(params.repetition_penalty != 1.0 or params.frequency_penalty or params.presence_penalty)


def checked_mask(words: Tensor, vocab_size: int) -> Tensor:
    """A mask as it is.

    Raises:
        ValueError: it is not one of so many tokens.
    """
    if words.shape != (-(-vocab_size // 32),) or words.dtype != torch.int32:
        raise ValueError(f"a mask of {list(words.shape)} {words.dtype} words is not one of {vocab_size} tokens")
    return words


def known_tokens(tokens: Sequence[int], vocab_size: int) -> Ints:
    """Token ids as an array.

    Raises:
        IndexError: one of them is none of the vocabulary's.
    """
    found = np.array(tokens, dtype=np.int64)
    if len(found) and not 0 <= found.min() <= found.max() < vocab_size:
        raise IndexError(f"there is a token id that is not one of {vocab_size}")
    return found


@dataclass(slots=True)
class _Edits:
    """What is to be changed in some rows, as cells of the flattened logits."""

    width: int
    bias: list[tuple[Ints, Floats]] = field(default_factory=list)
    penalized: list[tuple[Ints, Floats]] = field(default_factory=list)
    penalties: list[tuple[float, float, float]] = field(default_factory=list)
    banned: list[Ints] = field(default_factory=list)
    masks: list[tuple[int, Tensor]] = field(default_factory=list)

    def add_bias(self, place: int, tokens: Ints, bias: Floats) -> None:
        self.bias.append((tokens + place * self.width, bias))

    def penalize(self, place: int, history: _History, params: GenerationParams) -> None:
        tokens, counts = history.seen()
        self.penalized.append((tokens + place * self.width, counts))
        self.penalties.append((params.repetition_penalty, params.frequency_penalty, params.presence_penalty))

    def ban(self, place: int, tokens: Ints) -> None:
        self.banned.append(tokens + place * self.width)

    def allow_only(self, place: int, words: Tensor) -> None:
        self.masks.append((place, words))

    def apply(self, logits: Tensor) -> None:
        device = logits.device
        if self.bias:
            cells, bias = (torch.from_numpy(np.concatenate(part)).to(device) for part in zip(*self.bias, strict=True))
            transforms.add_bias(logits, cells, bias)
        if self.penalized:
            cells, counts = (torch.from_numpy(np.concatenate(part)) for part in zip(*self.penalized, strict=True))
            sizes = torch.tensor([len(part) for part, _ in self.penalized])
            penalties = torch.tensor(self.penalties).repeat_interleave(sizes, dim=0)
            transforms.penalize(logits, cells.to(device), counts.to(device), penalties.to(device))
        if self.banned:
            transforms.ban(logits, torch.from_numpy(np.concatenate(self.banned)).to(device))
        if self.masks:
            places, masks = zip(*self.masks, strict=True)
            words = torch.nn.functional.pad(torch.stack(masks), (0, self.width // 32 - len(masks[0])))
            transforms.allow_only(logits, torch.tensor(places, device=device), words.to(device))


class Kept:
    """What one request's adjustments take, made when it is needed first."""

    def __init__(self, row: SamplingRow, vocab_size: int, eos: frozenset[int]) -> None:
        self._row, self._vocab_size, self._eos = row, vocab_size, eos

    @cached_property
    def bias(self) -> tuple[Ints, Floats]:
        """Tokens, and what is added to their logits."""
        bias = self._row.params.logit_bias or {}
        return known_tokens(list(bias), self._vocab_size), np.array(list(bias.values()), dtype=np.float32)

    @cached_property
    def ending(self) -> Ints:
        """What would end the answer."""
        params = self._row.params
        eos = frozenset() if params.ignore_eos else self._eos
        return known_tokens(sorted(eos.union(params.stop_token_ids)), self._vocab_size)

    @cached_property
    def bad_words(self) -> BadWords:
        """What the answer may not complete."""
        return BadWords(self._row.bad_words)

    @cached_property
    def history(self) -> _History:
        """The tokens that penalties are for."""
        of_prompt = self._row.params.repetition_penalty != 1.0
        return _History(self._row.prompt if of_prompt else (), self._vocab_size)


class _History:
    """The distinct tokens of one request, and how often each is in the answer."""

    def __init__(self, prompt: Sequence[int], vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._tokens = known_tokens(list(dict.fromkeys(prompt)), vocab_size)
        self._counts = np.zeros(len(self._tokens), dtype=np.float32)
        self._places = {token: place for place, token in enumerate(self._tokens.tolist())}
        self._num_taken = 0

    def extend(self, generated: Sequence[int]) -> None:
        """Count the tokens of the answer that are new since the last call."""
        for token in generated[self._num_taken :]:
            place = self._places.get(token)
            if place is None:
                place = self._add(token)
            self._counts[place] += 1
        self._num_taken = len(generated)

    def _add(self, token: int) -> int:
        """A new token's place."""
        (known,) = known_tokens([token], self._vocab_size)
        place = len(self._places)
        if place == len(self._tokens):
            more = max(64, place)
            self._tokens = np.concatenate([self._tokens, np.zeros(more, dtype=np.int64)])
            self._counts = np.concatenate([self._counts, np.zeros(more, dtype=np.float32)])
        self._tokens[place], self._places[token] = known, place
        return place

    def seen(self) -> tuple[Ints, Floats]:
        """The tokens, and how often each is in the answer."""
        size = len(self._places)
        return self._tokens[:size], self._counts[:size]
