import pytest

from candle_vllm_core import (
    ContextLengthError,
    EngineClosedError,
    FinishReason,
    GenerationError,
    GenerationParams,
    ScriptedEngine,
    TokenizationError,
)


async def test_an_answer_comes_in_chunks_that_add_up() -> None:
    engine = ScriptedEngine(["Hello there."], chunk_size=5)
    chunks = [chunk async for chunk in engine.generate_stream(engine.tokenize("hi"))]
    assert [chunk.text for chunk in chunks] == ["Hello", " ther", "e."]
    output = chunks[-1].output
    assert output is not None and (output.text, output.finish_reason) == ("Hello there.", FinishReason.STOP)


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
