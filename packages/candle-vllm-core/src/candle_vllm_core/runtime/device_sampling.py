"""`DeviceSampler`: what requests ask of the sampling kernels, and what stays on the device from one step to the next.

```text
sampler = DeviceSampler(vocab_size, eos_token_ids, device)
prepared = sampler.prepare(rows)  # before the logits are there
drawn = sampler.draw(logits, prepared)  # waits for nothing; `drawn.tokens` can feed the next step where they are
```

How often each token is in an answer is counted on the device, for requests with penalties alone: the kernel that draws
a token counts it. What was drawn in another way, or taken back, shows in the number of tokens and is counted again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..kernels.rows import DRAWN, MOST_TOKENS, NOT_FINITE, Drawn, Requests
from ..kernels.sampling import NARROW, draw
from ..types import GenerationParams
from . import sampling
from .adjust import Kept, SamplingRow, checked_mask, has_penalties, known_tokens
from .drawing import COLDEST
from .logits import Rows
from .logprobs import RowLogprobs, raw_logprobs

IN_PROMPT = np.int32(-(2**31))
FEWEST_SLOTS = 8


class _Way(IntEnum):
    """The rows that `Requests` lists together."""

    WHOLE = 0
    NARROW = 1
    WIDE = 2


class Prepared(NamedTuple):
    """The rows of a step as the kernels read them, and what is wrong with each."""

    requests: Requests
    errors: list[str | None]


class BegunHere(NamedTuple):
    """A draw by kernels; see `sampling.Begun`."""

    tokens: Tensor
    fetched: Callable[[], list[list[float]]]
    """Waits for tokens, log probabilities and statuses, each of all rows."""
    faults: Sequence[str | None]
    """What was wrong with each row before it was drawn."""
    with_logprobs: Sequence[bool]

    def finish(self) -> sampling.Sampled:
        """See `sampling.Begun`."""
        tokens, logprobs, statuses = self.fetched()
        errors = [_error(int(status), fault) for status, fault in zip(statuses, self.faults, strict=True)]
        found = [int(token) if error is None else -1 for token, error in zip(tokens, errors, strict=True)]
        by_row = [
            RowLogprobs(token, logprob) if asked and error is None else None
            for token, logprob, asked, error in zip(found, logprobs, self.with_logprobs, errors, strict=True)
        ]
        return sampling.Sampled(found, by_row, errors)


class DeviceSampler:
    """Draws tokens where the logits are, each request's by its own parameters. Only one thread may use it."""

    def __init__(self, vocab_size: int, eos_token_ids: Iterable[int], device: torch.device) -> None:
        """`eos_token_ids` are banned until a request's `min_tokens`."""
        self._vocab_size, self._device = vocab_size, device
        self._eos = frozenset(token for token in eos_token_ids if 0 <= token < vocab_size)
        self._kept: dict[int, Kept] = {}
        self._counts = _Counts(vocab_size, device)

    @staticmethod
    def takes(vocab_size: int) -> bool:
        """Whether the kernels can draw from so many tokens."""
        return vocab_size <= MOST_TOKENS

    @torch.inference_mode()
    def sample(self, logits: Tensor, rows: Sequence[SamplingRow]) -> sampling.Sampled:
        """See `Sampler.sample`; the host waits once, for what was drawn."""
        sampled = self.begin(logits, rows).finish()
        asked = [place for place, its in enumerate(sampled.logprobs) if its and rows[place].params.top_logprobs]
        for piece in sampling.pieces(asked, sampling.PIECE):
            raw = Rows.of(logits[torch.tensor(piece, device=logits.device)].float())
            tokens, counts = [sampled.tokens[p] for p in piece], [rows[p].params.top_logprobs for p in piece]
            for place, its in zip(piece, raw_logprobs(raw, self._vocab_size, tokens, counts), strict=True):
                sampled.logprobs[place] = its
        return sampled

    @torch.inference_mode()
    def begin(self, logits: Tensor, rows: Sequence[SamplingRow]) -> BegunHere:
        """As `sample`, but without waiting, and without the likeliest tokens."""
        prepared = self.prepare(rows)
        drawn = self.draw(logits, prepared)
        fetched = _fetched(torch.stack([part.double() for part in drawn]))
        return BegunHere(drawn.tokens, fetched, prepared.errors, [row.params.logprobs for row in rows])

    def draw(self, logits: Tensor, prepared: Prepared) -> Drawn:
        """Draw a token for each row of `logits` [rows, vocabulary]."""
        return draw(logits.float(), prepared.requests)

    def prepare(self, rows: Sequence[SamplingRow]) -> Prepared:
        """Bring what rows ask to the device; each is to be drawn once then."""
        numbers = np.array([_numbers(row, self._vocab_size) for row in rows], dtype=np.float64)
        lists = _Lists(len(rows))
        errors = [self._collect(lists, place, row) for place, row in enumerate(rows)]
        ways = [_way(row.params, self._vocab_size) for row in rows]
        by_way = [[place for place, way in enumerate(ways) if way == wanted] for wanted in _Way]
        listed = np.array([place for way in by_way for place in way], dtype=np.int64)
        # One transfer for all: each is paid for by itself.
        whole = self._sent(np.concatenate([numbers.view(np.int64).ravel(), lists.places.ravel(), listed]))
        sizes = [numbers.size, lists.places.size, *map(len, by_way)]
        its_numbers, places, *of_ways = whole.split_with_sizes(sizes)
        as_whole, narrow, wide = (way.int() for way in of_ways)
        top_ks = (rows[place].params.effective_top_k for place in by_way[_Way.WIDE])
        tokens, amounts = lists.edits()
        masks = torch.stack(lists.masks) if lists.masks else torch.empty(0, 1, dtype=torch.int32)
        requests = Requests(
            its_numbers.view(torch.float64).view(numbers.shape),
            places.view(lists.places.shape),
            self._sent(tokens),
            self._sent(amounts),
            self._sent(masks.numpy()),
            self._counts.table,
            lists.num_edited,
            as_whole,
            narrow,
            wide,
            max((top_k or 0 for top_k in top_ks), default=0),
        )
        return Prepared(requests, errors)

    def forget(self, request_id: int) -> None:
        """Drop what is kept for a request."""
        self._kept.pop(request_id, None)
        self._counts.forget(request_id)

    def _collect(self, lists: _Lists, place: int, row: SamplingRow) -> str | None:
        """What is wrong with a row."""
        try:
            self._edit(lists, place, row)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            return str(error)
        return None

    def _edit(self, lists: _Lists, place: int, row: SamplingRow) -> None:
        params = row.params
        kept = self._kept.get(row.id)
        if kept is None:
            kept = self._kept[row.id] = Kept(row, self._vocab_size, self._eos)
        added = [kept.bias] if params.logit_bias else []
        if len(row.generated) < params.min_tokens:
            added.append(_ban(kept.ending))
        if row.bad_words:
            banned = kept.bad_words.banned(row.prompt, row.generated)
            added.append(_ban(known_tokens(banned, self._vocab_size)))
        mask = None if row.allowed is None else checked_mask(row.allowed, self._vocab_size)
        lists.add(place, added, mask, self._counts.slot(row) if has_penalties(params) else -1)

    def _sent(self, array: NDArray[np.generic]) -> Tensor:
        """An array on the device; the host does not wait until it is there."""
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else tensor


class _Lists:
    """What is collected of the rows of a step."""

    def __init__(self, rows: int) -> None:
        self.places = np.full((rows, 5), -1, dtype=np.int64)
        self.places[:, :2] = 0
        self.masks: list[Tensor] = []
        self.num_edited = 0
        self._tokens: list[NDArray[np.int64]] = []
        self._amounts: list[NDArray[np.float32]] = []
        self._num_edits = 0

    def add(
        self,
        place: int,
        added: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]],
        mask: Tensor | None,
        slot: int,
    ) -> None:
        """A row's additions to logits, its mask and where its tokens are counted."""
        its = self.places[place]
        if added:
            tokens, amounts = (np.concatenate(part) for part in zip(*added, strict=True))
            order = tokens.argsort(kind="stable")
            its[:2] = self._num_edits, self._num_edits + len(tokens)
            self._tokens.append(tokens[order])
            self._amounts.append(amounts[order])
            self._num_edits += len(tokens)
        if mask is not None:
            its[2] = len(self.masks)
            self.masks.append(mask)
        its[3] = slot
        if added or mask is not None or slot >= 0:
            its[4] = self.num_edited
            self.num_edited += 1

    def edits(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The tokens of all rows, and what is added to their logits."""
        tokens = np.concatenate([np.empty(0, dtype=np.int64), *self._tokens])
        return tokens.astype(np.int32), np.concatenate([np.empty(0, dtype=np.float32), *self._amounts])


class _Counts:
    """How often tokens are in answers, on the device: a row of the vocabulary for each request with penalties."""

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self.table = torch.empty((0, vocab_size), dtype=torch.int32, device=device)
        self._vocab_size, self._device = vocab_size, device
        self._free: list[int] = []
        self._slots: dict[int, int] = {}
        self._counted: dict[int, int] = {}

    def slot(self, row: SamplingRow) -> int:
        """Where a row is counted, after all tokens that it has; the one that is drawn now is counted by the kernel."""
        slot, counted, length = self._slots.get(row.id), self._counted.get(row.id, -1), len(row.generated)
        if slot is None:
            slot = self._slots[row.id] = self._new()
        if not 0 <= counted <= length:
            self._count_anew(slot, row)
        elif counted < length:
            more = torch.tensor(known_tokens(row.generated[counted:], self._vocab_size), device=self._device)
            self.table[slot].index_add_(0, more, torch.ones_like(more, dtype=torch.int32))
        self._counted[row.id] = length + 1
        return slot

    def forget(self, request_id: int) -> None:
        """Give a request's row to the next."""
        self._counted.pop(request_id, None)
        slot = self._slots.pop(request_id, None)
        if slot is not None:
            self._free.append(slot)

    def _count_anew(self, slot: int, row: SamplingRow) -> None:
        self._counted.pop(row.id, None)
        generated = known_tokens(row.generated, self._vocab_size)
        counts = np.bincount(generated, minlength=self._vocab_size).astype(np.int32)
        if row.params.repetition_penalty != 1.0:
            counts[known_tokens(row.prompt, self._vocab_size)] |= IN_PROMPT
        self.table[slot].copy_(torch.from_numpy(counts))

    def _new(self) -> int:
        if not self._free:
            size = len(self.table)
            grown = torch.empty((max(FEWEST_SLOTS, 2 * size), self._vocab_size), dtype=torch.int32, device=self._device)
            grown[:size] = self.table
            self.table, self._free = grown, list(range(len(grown) - 1, size - 1, -1))
        return self._free.pop()


def _numbers(row: SamplingRow, vocab_size: int) -> tuple[float, ...]:
    params = row.params
    top_k = params.effective_top_k
    return (
        0.0 if params.greedy else max(params.temperature, COLDEST),
        top_k if top_k is not None and top_k < vocab_size else math.inf,
        params.top_p if params.top_p < 1.0 else math.inf,
        params.min_p,
        sampling.uniform(row.seed, len(row.generated)),
        params.repetition_penalty,
        params.frequency_penalty,
        params.presence_penalty,
    )


def _way(params: GenerationParams, vocab_size: int) -> _Way:
    """How a row is drawn."""
    top_k = params.effective_top_k
    if params.greedy:
        return _Way.WHOLE
    if top_k is not None and top_k < vocab_size:
        return _Way.NARROW if top_k <= NARROW else _Way.WIDE
    return _Way.NARROW if params.top_p < 1.0 or params.min_p else _Way.WHOLE


def _ban(tokens: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return tokens, np.full(len(tokens), -np.inf, dtype=np.float32)


def _fetched(numbers: Tensor) -> Callable[[], list[list[float]]]:
    """Fetch numbers [n, rows] from the device; the function that is given waits until they are there."""
    if numbers.device.type != "cuda":
        return numbers.tolist
    host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
    host.copy_(numbers, non_blocking=True)
    there = torch.cuda.current_stream(numbers.device).record_event()

    def wait() -> list[list[float]]:
        there.synchronize()
        found: list[list[float]] = host.tolist()
        return found

    return wait


def _error(status: int, fault: str | None) -> str | None:
    if status == NOT_FINITE:
        return sampling.NOT_FINITE
    if fault is not None:
        return f"no token could be drawn: {fault}"
    return None if status == DRAWN else sampling.NOTHING_LEFT
