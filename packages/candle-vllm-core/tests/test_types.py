import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from candle_vllm_core import GenerationParams, ParameterError

REFUSED: list[tuple[str, Any]] = [
    ("max_tokens", 0),
    ("max_tokens", -1),
    ("max_tokens", 1.5),
    ("max_tokens", True),
    ("temperature", -1),
    ("temperature", math.nan),
    ("temperature", math.inf),
    ("temperature", "hot"),
    ("top_p", 0),
    ("top_p", 1.01),
    ("top_p", math.nan),
    ("top_k", -2),
    ("min_p", -0.1),
    ("min_p", 1.1),
    ("repetition_penalty", 0),
    ("repetition_penalty", math.nan),
    ("frequency_penalty", 2.1),
    ("presence_penalty", -2.1),
    ("stop_sequences", [""]),
    ("stop_sequences", "stop"),
    ("stop_sequences", ["x" * 1001]),
    ("stop_sequences", ["x"] * 65),
    ("stop_token_ids", [-1]),
    ("stop_token_ids", [2**31]),
    ("min_tokens", -1),
    ("min_tokens", 257),
    ("top_logprobs", 5),
    ("prompt_logprobs", -1),
    ("prompt_logprobs", 21),
    ("prompt_logprobs", True),
    ("bad_words", "word"),
    ("bad_words", [""]),
    ("bad_words", ["x" * 101]),
    ("bad_words", ["x"] * 1001),
    ("logit_bias", {1: 101}),
    ("logit_bias", {1: math.nan}),
    ("logit_bias", {-1: 1}),
    ("seed", 2**64),
    ("seed", "lucky"),
    ("ignore_eos", 1),
    ("logprobs", None),
    ("priority", 2**31),
    ("cache_salt", ""),
    ("cache_salt", "x" * 257),
    ("cache_salt", 7),
]


@pytest.mark.parametrize(("field", "value"), REFUSED, ids=lambda value: repr(value)[:20])
def test_a_parameter_out_of_bounds_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ParameterError) as raised:
        GenerationParams(**{field: value})
    assert raised.value.field == field
    assert field in str(raised.value) and raised.value.bounds in str(raised.value)


def test_the_defaults_are_those_of_the_contract() -> None:
    params = GenerationParams()
    assert (params.max_tokens, params.temperature, params.top_p, params.top_k, params.min_p) == (256, 1.0, 1.0, None, 0)
    assert (params.repetition_penalty, params.frequency_penalty, params.presence_penalty) == (1.0, 0.0, 0.0)
    assert (params.stop_sequences, params.stop_token_ids, params.logit_bias, params.seed) == ((), (), None, None)
    assert (params.ignore_eos, params.min_tokens, params.logprobs, params.top_logprobs) == (False, 0, False, 0)
    assert (params.priority, params.prompt_logprobs, params.bad_words) == (0, None, ())


@pytest.mark.parametrize("off", [None, 0, -1])
def test_every_way_of_turning_top_k_off(off: int | None) -> None:
    assert GenerationParams(top_k=off).effective_top_k is None


def test_parameters_do_not_change_with_what_they_were_made_from() -> None:
    stops, bias = ["a"], {1: 2.0}
    params = GenerationParams(stop_sequences=stops, logit_bias=bias)
    stops.append("b")
    bias[2] = 3.0
    assert (params.stop_sequences, params.logit_bias) == (("a",), {1: 2.0})
    with pytest.raises(FrozenInstanceError):
        params.seed = 1  # type: ignore[misc]
