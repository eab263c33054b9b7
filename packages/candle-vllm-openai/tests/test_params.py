import dataclasses
from typing import Any

import pytest

from candle_vllm_openai import (
    AdapterConfig,
    ChatCompletionRequest,
    Constraint,
    GenerationParams,
    ParameterError,
    to_generation_params,
)

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
EVERY: dict[str, Any] = dict(
    temperature=0.5,
    top_p=0.9,
    top_k=40,
    min_p=0.05,
    repetition_penalty=1.1,
    frequency_penalty=-1,
    presence_penalty=2,
    stop=["a", "b"],
    stop_token_ids=[7],
    ignore_eos=True,
    min_tokens=3,
    max_tokens=30,
    logprobs=True,
    top_logprobs=4,
    logit_bias={"5": -100},
    seed=-3,
    priority=2,
    bad_words=["no", "never"],
    cache_salt="tenant",
)


def params(
    *, choice: int = 0, room: int | None = None, defaults: AdapterConfig | None = None, **fields: Any
) -> GenerationParams:
    request = ChatCompletionRequest.model_validate(HELLO | fields)
    return to_generation_params(request, choice=choice, room=room, defaults=defaults)


def test_what_is_left_out_is_openais_default() -> None:
    assert params(room=90) == GenerationParams(max_tokens=90, top_k=-1)
    assert params().max_tokens == 2**31 - 1


def test_every_field_reaches_the_engine() -> None:
    given = params(**EVERY, room=10)
    assert given == GenerationParams(
        max_tokens=30,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        min_p=0.05,
        repetition_penalty=1.1,
        frequency_penalty=-1,
        presence_penalty=2,
        stop_sequences=("a", "b"),
        stop_token_ids=(7,),
        ignore_eos=True,
        min_tokens=3,
        logprobs=True,
        top_logprobs=4,
        logit_bias={5: -100},
        seed=-3,
        priority=2,
        bad_words=("no", "never"),
        cache_salt="tenant",
    )


def test_the_limit_has_two_names() -> None:
    assert params(max_tokens=5, room=9).max_tokens == 5
    assert params(max_completion_tokens=6, room=9).max_tokens == 6
    assert params(max_tokens=7, max_completion_tokens=7, room=9).max_tokens == 7


def test_every_parameter_of_the_engine_is_reached() -> None:
    """A parameter that the core has and no request can set is left out on purpose."""
    given = params(**EVERY)
    set_by_request = {f.name for f in dataclasses.fields(given) if getattr(given, f.name) != f.default}
    set_by_adapter = {"constraint", "shown_special_ids", "prompt_logprobs"}
    assert {f.name for f in dataclasses.fields(GenerationParams)} == set_by_request | set_by_adapter


def test_what_the_model_decides_is_handed_on() -> None:
    request, constraint = ChatCompletionRequest.model_validate(HELLO), Constraint(choice=["a"])
    made = to_generation_params(request, constraint=constraint, shown_special_ids=[5])
    assert (made.constraint, made.shown_special_ids) == (constraint, (5,))


def test_a_full_context_leaves_the_refusal_to_the_engine() -> None:
    assert params(room=0).max_tokens == 1
    assert params(room=-5).max_tokens == 1


def test_a_choice_has_its_own_seed() -> None:
    assert [params(seed=41, choice=choice).seed for choice in range(3)] == [41, 42, 43]
    assert params(seed=2**63 - 1, choice=127).seed == 2**63 + 126
    assert params(choice=5).seed is None


def test_a_single_stop_is_one_text() -> None:
    assert params(stop="abc").stop_sequences == ("abc",)
    assert params(stop=[]).stop_sequences == ()


def test_defaults_fill_what_is_left_out_and_nothing_else() -> None:
    defaults = AdapterConfig(
        temperature=0.0,
        top_p=0.5,
        top_k=3,
        min_p=0.1,
        repetition_penalty=1.5,
        frequency_penalty=0.5,
        presence_penalty=0.25,
    )
    filled = params(defaults=defaults, room=9)
    assert (filled.temperature, filled.top_p, filled.top_k, filled.min_p) == (0.0, 0.5, 3, 0.1)
    assert (filled.repetition_penalty, filled.frequency_penalty, filled.presence_penalty) == (1.5, 0.5, 0.25)
    asked = params(
        defaults=defaults,
        temperature=1,
        top_p=1,
        top_k=0,
        min_p=0,
        repetition_penalty=1,
        frequency_penalty=0,
        presence_penalty=0,
    )
    assert (asked.temperature, asked.top_p, asked.top_k, asked.min_p) == (1, 1, 0, 0)
    assert (asked.repetition_penalty, asked.frequency_penalty, asked.presence_penalty) == (1, 0, 0)


def test_a_minimum_that_the_context_has_no_room_for_is_named() -> None:
    with pytest.raises(ParameterError) as caught:
        params(min_tokens=10, room=5)
    assert caught.value.field == "min_tokens"
