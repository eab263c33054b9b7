"""`Sampler`: draws one token for each request of a step.

```text
sampler = Sampler(vocab_size, eos_token_ids)
sampled = sampler.sample(logits, requests)  # logits: [requests, vocabulary]
sampler.forget(request_id)  # when a request has ended
```

Order: logit bias, repetition penalty, frequency and presence penalties, EOS and stop ids banned until `min_tokens`, bad
words, the row's own mask, temperature, top-k, top-p, min-p, draw. What nobody uses is skipped, and what some use is
computed for those rows alone, together. Temperature 0 takes the likeliest token after the penalties, the lowest id of
equals. Log probabilities are those of the logits as they came.

The draw inverts the distribution function at one number that is a hash of the request's seed and the token's position.
So a seeded request gives the same tokens whatever it is batched with, and after it was preempted and computed again.
Few tokens that a cut left stand on the interval in the order of their likelihood, else tokens do in that of their ids.

On a GPU all that is done by kernels: see `device_sampling`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..kernels import available
from ..types import GenerationParams
from . import drawing
from . import logits as transforms
from .adjust import Adjustments, SamplingRow
from .drawing import Cuts, Floats, Ints
from .logits import Rows
from .logprobs import RowLogprobs, raw_logprobs

if TYPE_CHECKING:
    from .device_sampling import DeviceSampler

PIECE = 8  # rows whose probabilities are computed at once: the memory that they take is small, and used again
SHORTLIST = 64  # most nuclei are within this many of the likeliest tokens
NOT_FINITE = "no token could be drawn: the model computed logits that are not finite"
NOTHING_LEFT = "no token could be drawn: bias, penalties, bans and the constraint left no token that is finite"


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was drawn, one entry for each row."""

    tokens: list[int]
    """-1 where there is an error."""
    logprobs: list[RowLogprobs | None]
    """None for rows that did not ask."""
    errors: list[str | None]
    """Why nothing could be drawn for a row; other rows are not touched by it."""


class Begun(Protocol):
    """A draw that has begun."""

    @property
    def tokens(self) -> Tensor:
        """[rows] int64 where the logits are; what stands where there is an error means nothing."""
        ...

    def finish(self) -> Sampled:
        """Wait for it."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """A draw that is done; see `Begun`."""

    tokens: Tensor
    sampled: Sampled

    def finish(self) -> Sampled:
        """See `Begun`."""
        return self.sampled


class Sampler:
    """Draws tokens, each request's by its own parameters. Only one thread may use it."""

    def __init__(self, vocab_size: int, eos_token_ids: Iterable[int] = ()) -> None:
        """`eos_token_ids` are banned until a request's `min_tokens`."""
        self._vocab_size, self._eos = vocab_size, frozenset(eos_token_ids)
        self._adjustments = Adjustments(vocab_size, self._eos)
        self._kernels: DeviceSampler | None = None
        self._room = torch.empty(0)

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
        if available(logits.device) and (kernels := self._chosen(logits.device)) is not None:
            return kernels.sample(logits, rows)
        sampled = Sampled([-1] * len(rows), [None] * len(rows), [NOT_FINITE] * len(rows))
        raw = Rows.of(logits)
        good = _finite(raw)
        changed = {place for place in good if self._adjustments.wanted(rows[place])}
        if changed or not all(row.params.greedy and not row.params.logprobs for row in rows):
            raw = self._wide(raw)
        self._draw(raw, [place for place in good if place not in changed], rows, sampled)
        for piece in pieces(sorted(changed), PIECE):
            self._draw_changed(raw, piece, rows, sampled)
        asked = [place for place, row in enumerate(rows) if row.params.logprobs and sampled.errors[place] is None]
        for piece in pieces(asked, PIECE):
            tokens, counts = [sampled.tokens[p] for p in piece], [rows[p].params.top_logprobs for p in piece]
            found = raw_logprobs(raw.take(piece), self._vocab_size, tokens, counts)
            for place, logprobs in zip(piece, found, strict=True):
                sampled.logprobs[place] = logprobs
        return sampled

    @torch.inference_mode()
    def begin(self, logits: Tensor, rows: Sequence[SamplingRow]) -> Begun:
        """As `sample`, without waiting where kernels draw and nobody asks for the likeliest tokens."""
        if rows and available(logits.device) and not any(row.params.top_logprobs for row in rows):
            kernels = self._chosen(logits.device)
            if kernels is not None:
                return kernels.begin(logits, rows)
        sampled = self.sample(logits, rows)
        return Done(torch.tensor(sampled.tokens, dtype=torch.int64, device=logits.device), sampled)

    def forget(self, request_id: int) -> None:
        """Drop what is kept for a request."""
        self._adjustments.forget(request_id)
        if self._kernels is not None:
            self._kernels.forget(request_id)

    def _chosen(self, device: torch.device) -> DeviceSampler | None:
        """What draws where the logits are, if it takes so many tokens."""
        from .device_sampling import DeviceSampler

        if not DeviceSampler.takes(self._vocab_size):
            return None
        if self._kernels is None:
            self._kernels = DeviceSampler(self._vocab_size, self._eos, device)
        return self._kernels

    def _wide(self, rows: Rows) -> Rows:
        """The same in float32, in a place that stays.

        So much memory is else fetched from the system page by page in each step, which takes longer than all the rest.
        """
        if rows.base.dtype == torch.float32:
            return rows
        if self._room.numel() < rows.base.numel() or self._room.device != rows.base.device:
            self._room = torch.empty(rows.base.numel(), dtype=torch.float32, device=rows.base.device)
        return rows.widened(self._room)

    def _draw_changed(
        self, raw: Rows, places: Sequence[int], requests: Sequence[SamplingRow], sampled: Sampled
    ) -> None:
        """Draw for the rows at `places`, whose logits are changed first."""
        logits = raw.base.index_select(0, torch.tensor(places, device=raw.base.device))
        chosen = [requests[place] for place in places]
        part = Sampled([-1] * len(places), [], [NOTHING_LEFT] * len(places))
        wrong = self._adjustments.apply(logits, chosen)
        adjusted = Rows.of(logits)
        self._draw(adjusted, [place for place in _finite(adjusted) if wrong[place] is None], chosen, part)
        for place, token, error, reason in zip(places, part.tokens, part.errors, wrong, strict=True):
            sampled.tokens[place] = token
            sampled.errors[place] = error if reason is None else f"no token could be drawn: {reason}"

    def _draw(self, rows: Rows, places: Sequence[int], requests: Sequence[SamplingRow], sampled: Sampled) -> None:
        """Draw for the rows at `places`: those that are drawn in the same way together."""
        ways: defaultdict[tuple[_Draw, int], list[int]] = defaultdict(list)
        for place in places:
            ways[_way(requests[place].params, self._vocab_size)].append(place)
        for (draw, width), chosen in ways.items():
            drawn = draw(rows.take(chosen), [requests[place] for place in chosen], width)
            for place, token in zip(chosen, drawn[:, 0].tolist(), strict=True):
                sampled.tokens[place], sampled.errors[place] = token, None


def uniform(seed: int, position: int) -> float:
    """A number from 0 to below 1 for the token at `position`: the 53 highest bits of a BLAKE2b hash (RFC 7693)."""
    key = (seed % 2**64).to_bytes(8, "little") + position.to_bytes(8, "little")
    return (int.from_bytes(blake2b(key, digest_size=8).digest(), "little") >> 11) * 2.0**-53


def pieces(places: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """`places` in order, `size` at a time."""
    return (places[start : start + size] for start in range(0, len(places), size))


def _finite(rows: Rows) -> list[int]:
    return [place for place, best in enumerate(rows.best[:, 0].tolist()) if math.isfinite(best)]


_Draw = Callable[[Rows, Sequence[SamplingRow], int], Ints]
"""Gives each row's token [rows, 1]; the number is how many of the likeliest tokens it looks at."""


def _way(params: GenerationParams, vocab_size: int) -> tuple[_Draw, int]:
    """The least work that draws as asked. It depends on the request's own parameters alone, and so do its bits."""
    top_k = params.effective_top_k
    if params.greedy:
        return _likeliest, 0
    if top_k is not None and top_k < vocab_size:
        return _of_first, max(16, 1 << (top_k - 1).bit_length())
    return (_of_leaders, SHORTLIST) if params.top_p < 1.0 or params.min_p else (_of_all, 0)


def _likeliest(rows: Rows, requests: Sequence[SamplingRow], width: int) -> Ints:
    return _host(transforms.likeliest(rows))


def _of_all(rows: Rows, requests: Sequence[SamplingRow], width: int) -> Ints:
    """Without any cut."""
    cuts, drawn = _cuts(requests), list[Ints]()
    for piece in pieces(range(len(requests)), PIECE):
        its = cuts.take(slice(piece[0], piece[-1] + 1))
        drawn.append(_draw(_probabilities(rows.take(piece), its), its.uniform))
    return np.concatenate(drawn)


def _of_first(rows: Rows, requests: Sequence[SamplingRow], width: int) -> Ints:
    """After top-k: the tokens that are left are few."""
    cuts, tokens = _cuts(requests), transforms.leaders(rows, width)
    weights = drawing.likelihoods(_host(rows.at(tokens)).astype(np.float64), cuts)
    count = drawing.num_kept(weights, weights.cumsum(-1)[:, -1:], cuts)
    return drawing.pick(_host(tokens), drawing.draw_first(weights, count.clip(max=tokens.shape[-1]), cuts.uniform))


def _of_leaders(rows: Rows, requests: Sequence[SamplingRow], width: int) -> Ints:
    """After top-p or min-p: mostly few tokens are left, and to know them a bound of what all others weigh is enough."""
    cuts, tokens = _cuts(requests), transforms.leaders(rows, width)
    weights = drawing.likelihoods(_host(rows.at(tokens)).astype(np.float64), cuts)
    known = weights.cumsum(-1)[:, -1:]
    beyond = drawing.most_beyond(_host(rows.peaks), weights, cuts, transforms.BLOCK)
    least, most = drawing.num_kept(weights, known, cuts), drawing.num_kept(weights, known + beyond, cuts)
    count = most.clip(max=tokens.shape[-1])
    places = drawing.draw_first(weights, count, cuts.uniform)
    drawn = drawing.pick(_host(tokens), places)
    sure = (most == count) & (places == drawing.draw_first(weights, np.minimum(least, count), cuts.uniform))
    for piece in pieces((~sure)[:, 0].nonzero()[0].tolist(), PIECE):
        index = list(piece)
        its = tokens[torch.tensor(index, device=tokens.device)]
        drawn[index] = _of_nucleus(rows.take(index), its, cuts.take(index))
    return drawn


def _of_nucleus(rows: Rows, tokens: Tensor, cuts: Cuts) -> Ints:
    """The same, knowing what all tokens weigh; `tokens` are the likeliest."""
    probs = _probabilities(rows, cuts)
    weights = _host(probs.gather(-1, tokens)).astype(np.float64)
    count = drawing.num_kept(weights, _running_blocks(probs)[:, -1:], cuts)
    places = drawing.draw_first(weights, count.clip(max=tokens.shape[-1]), cuts.uniform)
    drawn = drawing.pick(_host(tokens), places)
    for place in (count > tokens.shape[-1])[:, 0].nonzero()[0].tolist():
        thinned = transforms.thin(probs[place], cuts.top_p[place].item(), cuts.min_p[place].item())
        drawn[place] = _draw(thinned[None], cuts.uniform[place, None])[0]
    return drawn


def _draw(probs: Tensor, uniform: Floats) -> Ints:
    """The token of each row that its number falls on when the interval is divided by probability."""
    running = _running_blocks(probs)
    point = uniform * running[:, -1:]
    block = drawing.find(running, point, running[:, -1:])
    before = np.where(block > 0, drawing.pick(running, np.maximum(block - 1, 0)), 0.0)
    inside = _host(transforms.blocks(probs, torch.from_numpy(block).to(probs.device))).cumsum(-1, dtype=np.float64)
    return block * transforms.BLOCK + drawing.find(inside, point - before, inside[:, -1:])


def _running_blocks(probs: Tensor) -> Floats:
    """Running sums over the blocks of each row."""
    sums: Floats = _host(transforms.block_sums(probs)).cumsum(-1, dtype=np.float64)
    return sums


def _cuts(requests: Sequence[SamplingRow]) -> Cuts:
    return Cuts.of([_cuts_of(row) for row in requests])


def _cuts_of(row: SamplingRow) -> tuple[float, float, float, float, float]:
    params = row.params
    top_p = params.top_p if params.top_p < 1.0 else math.inf
    number = uniform(row.seed, len(row.generated))
    return params.temperature, params.effective_top_k or math.inf, top_p, params.min_p, number


def _probabilities(rows: Rows, cuts: Cuts) -> Tensor:
    plain = bool((cuts.temperature == 1.0).all())
    temperature = None if plain else torch.from_numpy(cuts.temperature).to(rows.base)
    return transforms.probabilities(rows, temperature)


def _host(values: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = values.cpu().numpy()
    return found
