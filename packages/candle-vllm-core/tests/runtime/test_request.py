import pytest
from null_runner import make_request

from candle_vllm_core import (
    CapacityError,
    ContextLengthError,
    FinishReason,
    GenerationParams,
    ParameterError,
    TokenizationError,
)
from candle_vllm_core.runtime.request import Limits, Request, check_request
from candle_vllm_core.types import GenerationChunk, TokenLogprob

LIMITS = Limits(vocab_size=50, max_sequence_length=8)


def feed(request: Request, tokens: list[int]) -> list[GenerationChunk]:
    return [request.accept(token, None) for token in tokens]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [([], "empty"), ([50], "50"), ([-1], "-1"), ([True], "True"), (["a"], "'a'"), ([1.0], "1.0")],
)
def test_a_prompt_that_is_none_is_refused(prompt: list[int], said: str) -> None:
    with pytest.raises(TokenizationError, match=said):
        check_request(prompt, GenerationParams(), LIMITS)


def test_a_prompt_without_room_for_an_answer_is_refused_with_both_numbers() -> None:
    with pytest.raises(ContextLengthError) as raised:
        check_request([1] * 8, GenerationParams(), LIMITS)
    assert (raised.value.prompt_tokens, raised.value.limit) == (8, 8)
    assert check_request([1] * 7, GenerationParams(), LIMITS) == [1] * 7


def test_a_prompt_that_the_cache_cannot_hold_is_refused_with_both_numbers() -> None:
    small = Limits(vocab_size=50, max_sequence_length=100, kv_tokens=8)
    with pytest.raises(CapacityError) as raised:
        check_request([1] * 8, GenerationParams(), small)
    assert (raised.value.tokens_needed, raised.value.tokens_available) == (9, 8)
    assert raised.value.setting == "kv_cache_memory" and "larger kv_cache_memory" in str(raised.value)
    shared = Limits(vocab_size=50, max_sequence_length=100, kv_tokens=8, kv_setting="kv_fraction")
    with pytest.raises(CapacityError, match="larger kv_fraction"):
        check_request([1] * 8, GenerationParams(), shared)


@pytest.mark.parametrize(
    "params",
    [
        GenerationParams(stop_token_ids=[50]),
        GenerationParams(logit_bias={50: 1.0}),
        GenerationParams(shown_special_ids=[50]),
    ],
)
def test_parameters_that_name_unknown_tokens_are_refused(params: GenerationParams) -> None:
    with pytest.raises(ParameterError, match="50"):
        check_request([1], params, LIMITS)


def test_token_slice_runs_over_prompt_and_answer() -> None:
    request = make_request(1, [1, 2, 3])
    feed(request, [4, 5])
    assert [request.token_slice(0, 2), request.token_slice(2, 4), request.token_slice(4, 5)] == [[1, 2], [3, 4], [5]]


def test_chunks_add_up_to_the_output() -> None:
    request = make_request(1, [1], GenerationParams(max_tokens=4, logprobs=True))
    chunks = [request.accept(token, TokenLogprob(token, "x", -1.0)) for token in (5, 6, 7, 8)]
    output = chunks[-1].output
    assert output is not None and output.finish_reason is FinishReason.LENGTH
    assert sum((chunk.tokens for chunk in chunks), ()) == output.tokens
    assert "".join(chunk.text for chunk in chunks) == output.text == "5678"
    assert [chunk.ends for chunk in chunks] == [(1,), (2,), (3,), (4,)]
    assert sum((chunk.logprobs or () for chunk in chunks), ()) == output.logprobs


def test_the_longest_sequence_ends_an_answer() -> None:
    request = make_request(1, [1] * 6, limit=8)
    chunks = feed(request, [2, 3])
    assert [chunk.finish_reason for chunk in chunks] == [None, FinishReason.LENGTH]


def test_a_stop_text_ends_an_answer_and_shows_no_part_of_itself() -> None:
    request = make_request(1, [1], GenerationParams(stop_sequences=["34"]))
    chunks = feed(request, [2, 3, 4])
    output = chunks[-1].output
    assert output is not None
    assert (output.text, output.stop_sequence, output.finish_reason) == ("2", "34", FinishReason.STOP_SEQUENCE)
    assert output.tokens == (2, 3, 4)


def test_before_min_tokens_neither_stop_ids_nor_stop_texts_end_an_answer() -> None:
    params = GenerationParams(min_tokens=3, stop_token_ids=[9], stop_sequences=["7"])
    request = make_request(1, [1], params)
    assert [chunk.finish_reason for chunk in feed(request, [7, 9, 9, 9])] == [None, None, None, FinishReason.STOP]
    request = make_request(1, [1], params)
    assert [chunk.finish_reason for chunk in feed(request, [7, 7, 7])][-1] is FinishReason.STOP_SEQUENCE


def test_what_a_stop_text_held_back_comes_out_when_the_answer_ends_otherwise() -> None:
    request = make_request(1, [1], GenerationParams(stop_sequences=["34"], stop_token_ids=[9]))
    chunks = feed(request, [3, 9])
    assert [chunk.text for chunk in chunks] == ["", "3"]


def test_ending_from_outside_keeps_what_there_is() -> None:
    request = make_request(1, [1], GenerationParams(logprobs=True))
    request.accept(2, TokenLogprob(2, "2", -1.0))
    chunk = request.end(FinishReason.CANCELLED)
    assert chunk.output is not None and chunk.output.tokens == (2,)
    assert (chunk.output.finish_reason, chunk.tokens, chunk.logprobs) == (FinishReason.CANCELLED, (), ())
