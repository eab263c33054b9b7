"""One request on its way through the engine: its tokens, its text, and when it ends. No torch here."""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..constraints.matcher import TokenConstraint
from ..detokenizer import TextStream
from ..errors import CapacityError, ContextLengthError, ParameterError, TokenizationError
from ..types import (
    FinishReason,
    GenerationChunk,
    GenerationOutput,
    GenerationParams,
    GenerationStats,
    TokenLogprob,
)
from .pool import Pool
from .swap import Swapped

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

Sink = Callable[[GenerationChunk], None]
"""Takes each chunk of a request as it is made, on the engine's thread; must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the loaded model takes."""

    vocab_size: int
    max_sequence_length: int
    """The longest sequence that the model or its config allows, in tokens."""
    kv_tokens: int | None = None
    """How many tokens of one sequence the KV cache can hold; None: as many as any has."""
    kv_setting: str = "kv_cache_memory"
    """The field of `EngineConfig` that says how large the KV cache is."""
    eos_token_ids: frozenset[int] = frozenset()

    longest: int = field(init=False)
    """The longest sequence that can be computed, in tokens."""

    def __post_init__(self) -> None:
        longest = min(self.max_sequence_length, self.kv_tokens or self.max_sequence_length)
        object.__setattr__(self, "longest", longest)


class Drawn(NamedTuple):
    """What a step drew for one request: a token, or why none could be drawn."""

    token: int
    logprob: TokenLogprob | None = None
    error: str | None = None


def check_request(prompt: Sequence[int], params: GenerationParams, limits: Limits) -> list[int]:
    """The prompt as a list, after everything that can be known before a request runs was checked.

    Raises:
        TokenizationError: the prompt is empty, or has ids that are none or are not in the vocabulary.
        ContextLengthError: the prompt leaves no room for an answer in the longest sequence that the model takes.
        CapacityError: it leaves none in the KV cache.
        ParameterError: a parameter names a token that is not in the vocabulary.
    """
    tokens = _check_tokens(prompt, limits)
    if len(tokens) >= limits.max_sequence_length:
        raise ContextLengthError(len(tokens), limits.max_sequence_length)
    if len(tokens) >= limits.longest:
        raise CapacityError(len(tokens) + 1, limits.longest, limits.kv_setting)
    named = ("stop_token_ids", "shown_special_ids", "logit_bias")
    for name, ids in zip(
        named, (params.stop_token_ids, params.shown_special_ids, params.logit_bias or ()), strict=True
    ):
        for token in ids:
            if token >= limits.vocab_size:
                raise ParameterError(name, token, f"token ids from 0 to {limits.vocab_size - 1}")
    return tokens


def check_embedded(prompt: Sequence[int], limits: Limits) -> list[int]:
    """The prompt of an embedding as a list, after everything that can be known before it runs was checked.

    Raises:
        TokenizationError: the prompt is empty, or has ids that are none or are not in the vocabulary.
        ContextLengthError: it is longer than the longest sequence that the model takes.
        CapacityError: it is longer than what the KV cache holds.
    """
    tokens = _check_tokens(prompt, limits)
    if len(tokens) > limits.max_sequence_length:
        raise ContextLengthError(len(tokens), limits.max_sequence_length, answered=False)
    if len(tokens) > limits.longest:
        raise CapacityError(len(tokens), limits.longest, limits.kv_setting)
    return tokens


def _check_tokens(prompt: Sequence[int], limits: Limits) -> list[int]:
    tokens = list(prompt)
    if not tokens:
        raise TokenizationError("the prompt is empty; give at least one token")
    # The usual case in a few passes of C: a caller's event loop waits for this, and prompts may be very long.
    if set(map(type, tokens)) == {int} and min(tokens) >= 0 and max(tokens) < limits.vocab_size:
        return tokens
    for token in tokens:
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < limits.vocab_size:
            raise TokenizationError(
                f"the prompt has token id {token!r}; the model's ids are the integers from 0 to {limits.vocab_size - 1}"
            )
    return tokens


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """A request's whole state; only the engine's thread touches it once it was submitted."""

    id: int
    prompt: list[int]
    params: GenerationParams
    seed: int
    limits: Limits
    stream: TextStream
    sink: Sink
    arrived: float = field(default_factory=time.monotonic)
    generated: list[int] = field(default_factory=list)
    block_tables: list[array[int]] = field(default_factory=list)
    """While it runs: for each group of layers its blocks in order, those it has let go of marked."""
    num_places: int = 0
    """While it runs: tokens that have a place in its blocks; 0 while that is not known, or where blocks slide away."""
    block_keys: list[bytes] = field(default_factory=list)
    """The keys of its full blocks, as far as they were needed."""
    swapped: Swapped | None = None
    """While it waits after it was preempted: what it has in the host's memory."""
    state_slot: int | None = None
    """While it runs: where its recurrent state lies, if the model keeps one."""
    allowed: Tensor | None = None
    """Which tokens may be drawn next, as `SamplingRow.allowed` says; None: every token."""
    constraint: TokenConstraint | None = None
    """What the answer must be like, and where it stands in that."""
    bad_words: Sequence[Sequence[int]] = ()
    """The token sequences that the answer may not complete."""
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    """Those of the prompt's second, third, ... token, as far as they were computed; empty if nobody asked."""
    pool: Pool | None = None
    """What an embedding is gathered in; such a request draws no token and ends with its prompt."""
    num_computed: int = 0
    """Tokens whose keys and values are in the cache."""
    num_cached: int | None = None
    """Prompt tokens that were found in the prefix cache when the request first ran; None before that."""
    started: float | None = None
    """When it first ran."""
    last_token: float | None = None
    """When its last token was drawn."""
    finish_reason: FinishReason | None = None
    error: str | None = None
    _texts: list[str] = field(default_factory=list)
    _logprobs: list[TokenLogprob] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)
    _first_token: float | None = None
    _ending_ids: frozenset[int] = field(init=False)
    """The tokens that end the answer, once it is long enough."""
    _most: int = field(init=False)
    """The most tokens that the answer may have."""

    def __post_init__(self) -> None:
        eos = frozenset() if self.params.ignore_eos else self.limits.eos_token_ids
        self._ending_ids = eos.union(self.params.stop_token_ids)
        self._most = min(self.params.max_tokens, self.limits.longest - len(self.prompt))

    @property
    def num_tokens(self) -> int:
        """Tokens of prompt and answer so far."""
        return len(self.prompt) + len(self.generated)

    @property
    def num_uncomputed(self) -> int:
        """Tokens that must still be computed before the next one can be drawn."""
        return self.num_tokens - self.num_computed

    @property
    def num_needed(self) -> int:
        """Tokens that must find room before it may run: its own, and of an answer one more."""
        return self.num_tokens + (self.pool is None)

    @property
    def ends_with_next(self) -> bool:
        """Whether the answer has its full length with the next token, whatever that is."""
        return len(self.generated) + 1 >= self._most

    @property
    def num_reusable(self) -> int:
        """How many of its first tokens may come from the prefix cache instead of being computed.

        Not the last one, which the next is drawn after; nor one whose successor's log probability is still to be given,
        or whose hidden state is still to be pooled.
        """
        if self.pool is not None:
            return min(self.pool.next, self.num_tokens - 1)
        missing = self.params.prompt_logprobs is not None and len(self.prompt_logprobs) < len(self.prompt) - 1
        return len(self.prompt_logprobs) if missing else self.num_tokens - 1

    def token_slice(self, start: int, stop: int) -> list[int]:
        """Tokens `start` to `stop` of prompt and answer taken as one sequence."""
        boundary = len(self.prompt)
        if start >= boundary:
            return self.generated[start - boundary : stop - boundary]
        return self.prompt[start:stop] + self.generated[max(start - boundary, 0) : max(stop - boundary, 0)]

    def accept(self, token: int, logprob: TokenLogprob | None) -> GenerationChunk:
        """Take a sampled token and those that its constraint forces: their text, and whether the answer ends there."""
        if self._first_token is None:
            self._first_token = time.monotonic()
        if logprob is not None:
            self._logprobs.append(logprob)
        if self.constraint is None:
            text = self._take_token(token)
            return self._chunk((token,), text, None if logprob is None else (logprob,), (self.stream.num_chars,))
        text, before = "", len(self._ends)
        tokens = (token, *self.constraint.accept(token))
        for place, taken in enumerate(tokens):
            text += self._take_token(taken, last=place == len(tokens) - 1)
            if self.finish_reason is not None:
                break
        ends = tuple(self._ends[before:])
        return self._chunk(tokens[: len(ends)], text, None if logprob is None else (logprob,), ends)

    def fail(self, error: str) -> GenerationChunk:
        """End the request with an error."""
        return self.end(FinishReason.ERROR, error)

    def end(self, reason: FinishReason, error: str | None = None) -> GenerationChunk:
        """End the request from outside: cancelled, failed, or out of room."""
        self.finish_reason, self.error = reason, error
        return self._chunk((), self._last_text(), () if self.params.logprobs else None)

    def _last_text(self) -> str:
        """What the detokenizer still held back; nothing if it fails, for an end must come through."""
        try:
            return self.stream.finish()
        except Exception:
            logger.exception("the last text of request %d is lost", self.id)
            return ""

    def _take_token(self, token: int, *, last: bool = True) -> str:
        """The text that a token makes certain. `last`: of those that are taken together; the constraint is done only
        after it.
        """
        stream, params = self.stream, self.params
        self.generated.append(token)
        count = len(self.generated)
        if token in self._ending_ids and count > params.min_tokens:
            self.finish_reason = FinishReason.STOP
            text = stream.finish()
        else:
            text = stream.feed(token, stops=count >= params.min_tokens)
            if stream.stop_sequence is not None:
                self.finish_reason = FinishReason.STOP_SEQUENCE
            elif last and self.constraint is not None and self.constraint.done:
                self.finish_reason = FinishReason.STOP
                text += stream.finish()
            elif count >= self._most:
                self.finish_reason = FinishReason.LENGTH
                text += stream.finish()
        self._ends.append(stream.num_chars)
        return text

    def _chunk(
        self,
        tokens: tuple[int, ...],
        text: str,
        logprobs: tuple[TokenLogprob, ...] | None,
        ends: tuple[int, ...] = (),
    ) -> GenerationChunk:
        self._texts.append(text)
        reason = self.finish_reason
        return GenerationChunk(
            tokens=tokens,
            text=text,
            logprobs=logprobs,
            ends=ends,
            prompt_logprobs=self._prompt_logprobs() if tokens and len(tokens) == len(self.generated) else None,
            finish_reason=reason,
            output=self.output() if reason is not None else None,
        )

    def _prompt_logprobs(self) -> tuple[TokenLogprob | None, ...] | None:
        return (None, *self.prompt_logprobs) if self.params.prompt_logprobs is not None else None

    def output(self) -> GenerationOutput:
        """The answer as it stands; whole once `finish_reason` is set."""
        return GenerationOutput(
            tokens=tuple(self.generated),
            text="".join(self._texts),
            finish_reason=self.finish_reason or FinishReason.CANCELLED,
            stop_sequence=self.stream.stop_sequence,
            error=self.error,
            logprobs=tuple(self._logprobs) if self.params.logprobs else None,
            ends=tuple(self._ends),
            prompt_logprobs=self._prompt_logprobs(),
            stats=self._stats(),
        )

    def _stats(self) -> GenerationStats:
        now = time.monotonic()
        first = self._first_token if self._first_token is not None else now
        count = len(self.generated)
        seconds, counted = (now - first, count - 1) if count > 1 else (now - self.arrived, count)
        return GenerationStats(
            prompt_tokens=len(self.prompt),
            cached_tokens=self.num_cached or 0,
            generated_tokens=count,
            queue_time_ms=(self.started - self.arrived) * 1000 if self.started is not None else 0.0,
            total_time_ms=(now - self.arrived) * 1000,
            time_to_first_token_ms=(first - self.arrived) * 1000 if count else 0.0,
            tokens_per_second=counted / seconds if seconds > 0 else 0.0,
        )
