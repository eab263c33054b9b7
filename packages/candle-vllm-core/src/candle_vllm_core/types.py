"""What goes into the engine and what comes out of it, as frozen data. No torch here."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NewType, get_args

from .constraint import Constraint
from .errors import ParameterError
from .memory import MemoryPlan

MAX_TOKEN_ID = 2**31 - 1
MAX_SEED = 2**64 - 1
MAX_STOPS = 64
MAX_STOP_CHARS = 1000
MAX_TOP_LOGPROBS = 100
MAX_PROMPT_LOGPROBS = 20
MAX_BAD_WORDS = 1000
MAX_BAD_WORD_CHARS = 100
MAX_SALT_CHARS = 256
MAX_DIMENSIONS = 2**20

Pooling = Literal["mean", "last", "cls"]
"""What an embedding is made of: the mean of all tokens' last hidden states, the last token's, or the first one's."""

RequestHandle = NewType("RequestHandle", int)
"""Names a request added by `add_request`, to know its updates by and to cancel it."""


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """The model ended its answer, or wrote one of `stop_token_ids`."""
    LENGTH = "length"
    """`max_tokens` or the longest sequence that the engine takes was reached."""
    STOP_SEQUENCE = "stop_sequence"
    """One of `stop_sequences` was completed; the output names it."""
    CANCELLED = "cancelled"
    """The request was cancelled, or the engine was closed."""
    ERROR = "error"
    """The request failed; the output's `error` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationParams:
    """How one answer is drawn; each request in a batch has its own. Checked when made.

    Order of application: logit bias, penalties, bans (bad words; until `min_tokens`, EOS and stop ids), the constraint,
    temperature, top-k, top-p, min-p, draw.

    Raises:
        ParameterError: names the field, the value given and its bounds.
    """

    max_tokens: int = 256
    """The most tokens to generate, at least 1."""
    temperature: float = 1.0
    """Divides the logits; 0 takes the likeliest token always (greedy). 0 to 100."""
    top_p: float = 1.0
    """Nucleus sampling (Holtzman et al. 2020): the likeliest tokens that together reach it. Over 0, to 1."""
    top_k: int | None = None
    """Only the k likeliest tokens; None, 0 and -1 are off."""
    min_p: float = 0.0
    """Only tokens at least this likely relative to the likeliest one. 0 to 1."""
    repetition_penalty: float = 1.0
    """For tokens in prompt and answer: logits over 0 are divided by it, others multiplied (Keskar et al. 2019)."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit once for each time it is in the answer. -2 to 2."""
    presence_penalty: float = 0.0
    """Subtracted from a token's logit if it is in the answer. -2 to 2."""
    stop_sequences: Sequence[str] = ()
    """Texts that end the answer; the answer shows no part of the one that ended it."""
    stop_token_ids: Sequence[int] = ()
    """Token ids that end the answer, beside the model's own EOS."""
    ignore_eos: bool = False
    """Goes on past EOS, and shows it."""
    shown_special_ids: Sequence[int] = ()
    """Ids of special tokens that stand in the answer's text; other special tokens are left out of it."""
    min_tokens: int = 0
    """Until this many tokens, neither EOS nor stop ids nor stop texts end the answer. At most `max_tokens`."""
    logprobs: bool = False
    """Gives the log probability of each token, in the model's raw distribution."""
    top_logprobs: int = 0
    """With `logprobs`: how many of the likeliest tokens to give at each position."""
    prompt_logprobs: int | None = None
    """Gives the prompt's log probabilities with 0 to 20 alternatives each; it takes nothing from the prefix cache."""
    logit_bias: Mapping[int, float] | None = None
    """Token id to a number added to its logit, -100 to 100."""
    bad_words: Sequence[str] = ()
    """Texts that the answer may not complete, as tokens with and without a leading space; at most 1000."""
    seed: int | None = None
    """The same seed gives the same answer, whatever else is in the batch."""
    priority: int = 0
    """Smaller is served first; requests of one priority are served in order of arrival."""
    constraint: Constraint | None = None
    """The form that the answer must have; once nothing may follow it ends, by `stop`, even before `min_tokens`."""
    cache_salt: str | None = None
    """Shares the prefix cache only with requests of the same salt, 1 to 256 characters; None: with those of none."""

    def __post_init__(self) -> None:
        _integer("max_tokens", self.max_tokens, 1, MAX_TOKEN_ID)
        _number("temperature", self.temperature, 0.0, 100.0)
        _number("top_p", self.top_p, 0.0, 1.0, open_low=True)
        if self.top_k is not None:
            _integer("top_k", self.top_k, -1, MAX_TOKEN_ID)
        _number("min_p", self.min_p, 0.0, 1.0)
        _number("repetition_penalty", self.repetition_penalty, 0.0, 100.0, open_low=True)
        _number("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        _number("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _integer("min_tokens", self.min_tokens, 0, self.max_tokens)
        _integer("top_logprobs", self.top_logprobs, 0, MAX_TOP_LOGPROBS)
        if self.top_logprobs and not self.logprobs:
            raise ParameterError("top_logprobs", self.top_logprobs, "0 unless `logprobs` is true")
        if self.prompt_logprobs is not None:
            _integer("prompt_logprobs", self.prompt_logprobs, 0, MAX_PROMPT_LOGPROBS)
        if self.seed is not None:
            _integer("seed", self.seed, -(2**63), MAX_SEED)
        _integer("priority", self.priority, -(2**31), 2**31 - 1)
        for name in ("ignore_eos", "logprobs"):
            if not isinstance(getattr(self, name), bool):
                raise ParameterError(name, getattr(self, name), "true or false")
        if not isinstance(self.constraint, Constraint | None):
            raise ParameterError("constraint", self.constraint, "a Constraint, or None")
        _salt(self.cache_salt)
        stops = _texts("stop_sequences", self.stop_sequences, MAX_STOPS, MAX_STOP_CHARS)
        object.__setattr__(self, "stop_sequences", stops)
        bad_words = _texts("bad_words", self.bad_words, MAX_BAD_WORDS, MAX_BAD_WORD_CHARS)
        object.__setattr__(self, "bad_words", bad_words)
        object.__setattr__(self, "stop_token_ids", _token_ids("stop_token_ids", self.stop_token_ids))
        object.__setattr__(self, "shown_special_ids", _token_ids("shown_special_ids", self.shown_special_ids))
        object.__setattr__(self, "logit_bias", _logit_bias(self.logit_bias))

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken always."""
        return self.temperature == 0.0

    @property
    def effective_top_k(self) -> int | None:
        """`top_k`, with every way of saying "off" as None."""
        return self.top_k if self.top_k is not None and self.top_k > 0 else None


def _integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ParameterError(name, value, f"an integer from {low} to {high}")


def _number(name: str, value: object, low: float, high: float, *, open_low: bool = False) -> None:
    bounds = f"a number {'over' if open_low else 'from'} {low:g} and at most {high:g}"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ParameterError(name, value, bounds)
    if not low <= value <= high or (open_low and value == low):
        raise ParameterError(name, value, bounds)


def _salt(salt: str | None) -> None:
    if salt is not None and (not isinstance(salt, str) or not 1 <= len(salt) <= MAX_SALT_CHARS):
        raise ParameterError("cache_salt", salt, f"a text of 1 to {MAX_SALT_CHARS} characters, or None")


def _texts(name: str, texts: Sequence[str], most: int, longest: int) -> tuple[str, ...]:
    bounds = f"at most {most} texts of 1 to {longest} characters"
    if isinstance(texts, str) or len(texts) > most:
        raise ParameterError(name, texts, bounds)
    for text in texts:
        if not isinstance(text, str) or not 1 <= len(text) <= longest:
            raise ParameterError(name, text, bounds)
    return tuple(texts)


def _token_ids(name: str, ids: Sequence[int]) -> tuple[int, ...]:
    for token_id in ids:
        _integer(name, token_id, 0, MAX_TOKEN_ID)
    return tuple(ids)


def _logit_bias(bias: Mapping[int, float] | None) -> Mapping[int, float] | None:
    for token_id, value in (bias or {}).items():
        _integer("logit_bias", token_id, 0, MAX_TOKEN_ID)
        _number("logit_bias", value, -100.0, 100.0)
    return dict(bias) if bias else None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token's log probability in the model's raw distribution, before any transform."""

    token_id: int
    token: str
    """The token's text alone; a token that holds part of a character shows U+FFFD, `token_bytes` has its bytes."""
    logprob: float
    top: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens at this position, best first; empty unless that many were asked for."""
    token_bytes: bytes = b""
    """The bytes of UTF-8 that the token stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStats:
    """What one answer took."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens that were not computed again: whole blocks found in the prefix cache."""
    generated_tokens: int = 0
    queue_time_ms: float = 0.0
    """From the request's arrival until it first ran; 0 if it never did."""
    total_time_ms: float = 0.0
    """From the request's arrival to its last token."""
    time_to_first_token_ms: float = 0.0
    """From the request's arrival to its first token; 0 if there was none."""
    tokens_per_second: float = 0.0
    """Generated tokens over the time after the first token; over the total time if there is only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOutput:
    """A whole answer."""

    tokens: tuple[int, ...]
    """All sampled ids, with the EOS or stop id that ended the answer."""
    text: str
    """The answer's text; neither EOS nor any part of a stop text is in it."""
    finish_reason: FinishReason
    stop_sequence: str | None = None
    """The stop text that ended the answer, if one did."""
    error: str | None = None
    """What went wrong, if something did."""
    logprobs: tuple[TokenLogprob, ...] | None = None
    """One for each token, if asked for."""
    ends: tuple[int, ...] = ()
    """Where the text of each token ends in the answer's text, as a chunk says it."""
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    """One for each token of the prompt, if asked for; None for the first, which nothing stands before."""
    stats: GenerationStats = field(default_factory=GenerationStats)


@dataclass(slots=True, kw_only=True)
class GenerationChunk:
    """A piece of an answer: `tokens`, `text`, `logprobs` and `ends` of all chunks add up to the output's.

    It is its receiver's: the engine makes one for each token and does not look at it again.
    """

    tokens: tuple[int, ...] = ()
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] | None = None
    ends: tuple[int, ...] = ()
    """Where the text of each of `tokens` ends in the answer's text, in characters. Text that is still held back, or
    belongs to a stop text, counts too; a token that adds no whole character ends where the one before it does."""
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    """All of them, on the chunk with the first token, if asked for."""
    finish_reason: FinishReason | None = None
    """Set on the last chunk."""
    output: GenerationOutput | None = None
    """The whole answer, on the last chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingParams:
    """How an embedding is made. Checked when made.

    Raises:
        ParameterError: names the field, the value given and its bounds.
    """

    pooling: Pooling | None = None
    """None: as the model's own files say, else mean."""
    dimensions: int | None = None
    """Only so many of its first numbers, brought to length 1 again; None: all."""
    priority: int = 0
    """As in `GenerationParams`."""
    cache_salt: str | None = None
    """As in `GenerationParams`."""

    def __post_init__(self) -> None:
        if self.pooling is not None and self.pooling not in get_args(Pooling):
            raise ParameterError("pooling", self.pooling, "mean, last or cls, or None")
        if self.dimensions is not None:
            _integer("dimensions", self.dimensions, 1, MAX_DIMENSIONS)
        _integer("priority", self.priority, -(2**31), 2**31 - 1)
        _salt(self.cache_salt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """What a model makes of a text: a vector of length 1, near those of texts that mean alike."""

    values: array[float]
    """float32; `numpy.asarray` takes it as it is."""
    prompt_tokens: int
    cached_tokens: int = 0
    """Prompt tokens that were not computed again: whole blocks found in the prefix cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRequest:
    """One prompt and how to answer it, for `add_request`."""

    prompt: Sequence[int]
    params: GenerationParams = field(default_factory=GenerationParams)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestUpdate:
    """What a `step` did for one request; `output` is set on the request's last update."""

    handle: RequestHandle
    chunk: GenerationChunk
    output: GenerationOutput | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What is loaded, and on what."""

    model_id: str
    architecture: str
    max_sequence_length: int
    """The longest sequence in tokens, prompt and answer together."""
    vocab_size: int
    num_parameters: int
    dtype: str
    device: str
    quantization: str | None = None
    kv_cache_tokens: int = 0
    """Tokens that the KV cache holds at once, of all sequences together; layers with a window keep fewer of them."""
    kv_bytes_per_token: int = 0
    """Bytes of KV cache that one token of one sequence takes while every layer can reach it."""
    kv_bytes_per_token_beyond_window: int = 0
    """Bytes that one more token adds once the windows of all layers that have one are full."""
    state_bytes_per_sequence: int = 0
    """Bytes that one sequence takes beside its tokens, however long it is: the states of recurrent layers."""
    memory: MemoryPlan | None = None
    """What was planned to be held in memory before the model was loaded."""
    hidden_size: int = 0
    """Numbers in a hidden state, and so in an embedding."""
    pooling: Pooling = "mean"
    """How embeddings are made unless a request says so: as the model's own files say, else the mean."""
    special_tokens: tuple[str, ...] = ()
    """Texts that the tokenizer reads as control tokens."""
    fingerprint: str = ""
    """Stands for the model's files as they are now, how they are read and the type it computes in, in hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """A checkpoint's own chat template (Jinja) and the marks it is written with."""

    source: str
    tool_source: str | None = None
    """The template of requests with tools; None: the same one."""
    bos_token: str | None = None
    eos_token: str | None = None
    special_tokens: tuple[str, ...] = ()
    """Texts that the tokenizer reads as control tokens."""
