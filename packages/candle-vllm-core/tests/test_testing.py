import pytest

from candle_vllm_core import (
    ContextLengthError,
    EmbeddingParams,
    EngineClosedError,
    FinishReason,
    GenerationError,
    GenerationParams,
    ParameterError,
    ScriptedEngine,
    TokenizationError,
)


async def test_an_answer_comes_in_chunks_that_add_up() -> None:
    engine = ScriptedEngine(["Hello there."], chunk_size=5)
    chunks = [chunk async for chunk in engine.generate_stream(engine.tokenize("hi"))]
    assert [chunk.text for chunk in chunks] == ["Hello", " ther", "e."]
    output = chunks[-1].output
    assert output is not None and (output.text, output.finish_reason) == ("Hello there.", FinishReason.STOP)


async def test_chunks_are_cut_as_asked_and_say_where_each_token_ends() -> None:
    engine = ScriptedEngine(["Hello there."], words=["Hell", "there"], chunk_size=[1, 3])
    params = GenerationParams(stop_sequences=["ere"])
    chunks = [chunk async for chunk in engine.generate_stream(engine.tokenize("hi"), params)]
    assert [(chunk.text, chunk.ends) for chunk in chunks] == [("Hell", (4,)), ("o th", (5, 6, 11))]
    assert [engine.detokenize([token]) for token in chunks[1].tokens] == ["o", " ", "there"]


def test_special_tokens_are_hidden_unless_asked_for() -> None:
    engine = ScriptedEngine(["a<think>b</think>"] * 2, special_tokens=["<think>", "</think>"])
    shown = engine.tokenize("<think>")
    assert len(shown) == 1 and len(engine.tokenize("<think>", control_marks=False)) == 7
    assert engine.generate_sync([1]).text == "ab"
    assert engine.generate_sync([1], GenerationParams(shown_special_ids=shown)).text == "a<think>b"


async def test_answers_come_in_order_and_an_exception_is_raised() -> None:
    engine = ScriptedEngine(["one", ValueError("two")])
    assert (await engine.generate([1])).text == "one"
    with pytest.raises(ValueError, match="two"):
        await engine.generate([1])
    with pytest.raises(GenerationError, match="no answer left"):
        await engine.generate([1])


def test_a_script_may_be_a_function_of_the_prompt() -> None:
    engine = ScriptedEngine(lambda prompt, params: prompt.upper() * params.max_tokens)
    prompt = engine.tokenize("ab<|im_end|>")
    assert engine.generate_sync(prompt, GenerationParams(max_tokens=2)).text == "AB"
    assert engine.requests[0].prompt == prompt


def test_limits_stops_and_errors_are_the_real_ones() -> None:
    engine = ScriptedEngine(["Hello.", "Hello."], max_sequence_length=8)
    assert engine.generate_sync([1], GenerationParams(stop_sequences=["lo"])).text == "Hel"
    assert engine.generate_sync([1], GenerationParams(max_tokens=2)).finish_reason is FinishReason.LENGTH
    with pytest.raises(ContextLengthError):
        engine.generate_sync([1] * 8)
    with pytest.raises(TokenizationError):
        engine.generate_sync([])
    engine.close()
    with pytest.raises(EngineClosedError):
        engine.generate_sync([1])


async def test_closing_a_stream_is_counted_as_a_cancel() -> None:
    engine = ScriptedEngine(["Hello."])
    stream = engine.generate_stream([1])
    await anext(stream)
    assert engine.stats().running == 1
    await stream.aclose()
    assert (engine.stats().running, engine.cancelled) == (0, 1)


def test_control_marks_are_one_token_only_where_they_may_be() -> None:
    engine = ScriptedEngine()
    text = "a<|im_end|>"
    assert len(engine.tokenize(text)) == 2
    assert engine.detokenize(engine.tokenize(text)) == "a"
    assert engine.detokenize(engine.tokenize(text), skip_special_tokens=False) == text
    assert engine.detokenize(engine.tokenize(text, control_marks=False)) == text
    with pytest.raises(TokenizationError):
        engine.detokenize([0x110000 + 2])


def test_log_probabilities_are_those_of_certainty() -> None:
    engine = ScriptedEngine(["é"])
    output = engine.generate_sync([1], GenerationParams(logprobs=True, top_logprobs=1))
    assert output.logprobs is not None
    first = output.logprobs[0]
    assert (first.token, first.logprob, first.token_bytes, first.top[0].token) == ("é", 0.0, "é".encode(), "é")


async def test_an_answer_that_eos_does_not_end_loses_nothing() -> None:
    engine = ScriptedEngine(["Hello"], chunk_size=4)
    chunks = [chunk async for chunk in engine.generate_stream([1], GenerationParams(ignore_eos=True))]
    output = chunks[-1].output
    assert output is not None and output.text == "".join(chunk.text for chunk in chunks) == "Hello<|im_end|>"


async def test_embeddings_count_the_ids_and_are_checked_as_the_real_ones() -> None:
    engine = ScriptedEngine(max_sequence_length=8)
    (mean,) = await engine.embed([[1, 17, 2]])
    assert list(mean.values) == pytest.approx([0.0, 2 / 5**0.5, 1 / 5**0.5, *[0.0] * 13])
    (last,) = engine.embed_sync([[1, 17, 2]], EmbeddingParams(pooling="last", dimensions=3))
    assert (list(last.values), last.prompt_tokens) == ([0.0, 0.0, 1.0], 3)
    assert engine.embedded[1] == ([1, 17, 2], EmbeddingParams(pooling="last", dimensions=3))
    assert len(engine.embed_sync([[1] * 8])) == 1
    with pytest.raises(ContextLengthError):
        engine.embed_sync([[1] * 9])
    with pytest.raises(ParameterError):
        engine.embed_sync([[1]], EmbeddingParams(dimensions=17))


async def test_log_probabilities_of_the_prompt_come_with_the_first_token() -> None:
    engine = ScriptedEngine(["abc"], chunk_size=2)
    chunks = [chunk async for chunk in engine.generate_stream([65, 66], GenerationParams(prompt_logprobs=1))]
    found = chunks[0].prompt_logprobs
    assert found is not None and [entry and entry.token for entry in found] == [None, "B"]
    assert [chunk.prompt_logprobs for chunk in chunks[1:]] == [None] * (len(chunks) - 1)
    assert chunks[-1].output is not None and chunks[-1].output.prompt_logprobs == found
