"""A request's sampling parameters, as the engine takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from candle_vllm_core import Constraint, GenerationParams

from .config import AdapterConfig
from .types.requests import ChatCompletionRequest
from .types.sampling import MAX_INT, SamplingRequest

Number = TypeVar("Number", int, float)


def to_generation_params(
    request: ChatCompletionRequest,
    *,
    choice: int = 0,
    room: int | None = None,
    defaults: AdapterConfig | None = None,
    constraint: Constraint | None = None,
    shown_special_ids: Sequence[int] = (),
) -> GenerationParams:
    """The parameters of one choice of a chat request.

    `choice` is added to the seed. `room` is how many tokens the context has left, for a request that gives no limit
    (None: the engine ends the answer where its context ends). `defaults` fill what the request leaves out.
    `constraint` is the form of the answer, and `shown_special_ids` are the special tokens that stand in its text: both
    depend on the model's way to call tools and to reason.

    Raises:
        ParameterError: names the parameter.
    """
    return sampling_params(
        request,
        choice=choice,
        room=room,
        defaults=defaults,
        constraint=constraint,
        shown_special_ids=shown_special_ids,
        logprobs=request.logprobs,
        top_logprobs=request.top_logprobs,
    )


def sampling_params(
    request: SamplingRequest,
    *,
    choice: int = 0,
    room: int | None = None,
    defaults: AdapterConfig | None = None,
    constraint: Constraint | None = None,
    shown_special_ids: Sequence[int] = (),
    logprobs: bool = False,
    top_logprobs: int = 0,
    prompt_logprobs: int | None = None,
) -> GenerationParams:
    """The parameters of one choice of any request for text; what its endpoint says in its own way is given.

    Raises:
        ParameterError: names the parameter.
    """
    given, fallback = request, defaults or AdapterConfig()
    return GenerationParams(
        max_tokens=_first(given.limit, None if room is None else max(room, 1), MAX_INT),
        temperature=_first(given.temperature, fallback.temperature, 1.0),
        top_p=_first(given.top_p, fallback.top_p, 1.0),
        top_k=_first(given.top_k, fallback.top_k, -1),
        min_p=_first(given.min_p, fallback.min_p, 0.0),
        repetition_penalty=_first(given.repetition_penalty, fallback.repetition_penalty, 1.0),
        frequency_penalty=_first(given.frequency_penalty, fallback.frequency_penalty, 0.0),
        presence_penalty=_first(given.presence_penalty, fallback.presence_penalty, 0.0),
        stop_sequences=given.stops,
        stop_token_ids=given.stop_token_ids or (),
        shown_special_ids=shown_special_ids,
        ignore_eos=given.ignore_eos,
        min_tokens=given.min_tokens,
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        prompt_logprobs=prompt_logprobs,
        logit_bias=None if given.logit_bias is None else {int(key): bias for key, bias in given.logit_bias.items()},
        bad_words=given.bad_words or (),
        seed=None if given.seed is None else given.seed + choice,
        priority=given.priority,
        constraint=constraint,
        cache_salt=given.cache_salt,
    )


def _first(given: Number | None, fallback: Number | None, otherwise: Number) -> Number:
    if given is not None:
        return given
    return otherwise if fallback is None else fallback
