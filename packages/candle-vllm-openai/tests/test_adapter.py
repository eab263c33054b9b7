import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion
from openai.types.chat import ChatCompletionChunk as OpenAIChunk
from pydantic import BaseModel

from candle_vllm_openai import (
    AdapterConfig,
    ApiError,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatTemplate,
    GenerationChunk,
    GenerationError,
    GenerationParams,
    Message,
    OpenAIAdapter,
    ScriptedEngine,
    collect,
    parse_request,
)
from candle_vllm_openai import adapter as adapter_module
from candle_vllm_openai.prompt import PromptTemplate

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}


def ask(**fields: Any) -> ChatCompletionRequest:
    return parse_request(HELLO | fields)


async def chunks_of(engine: ScriptedEngine, **fields: Any) -> list[ChatCompletionChunk]:
    return [chunk async for chunk in OpenAIAdapter(engine).chat_completion_stream(ask(stream=True, **fields))]


def texts(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    return "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == index)


class Breaking(ScriptedEngine):
    """Fails after `good` chunks of the choices whose seed is 1, or of every one without a seed."""

    def __init__(self, answers: Sequence[str], good: int) -> None:
        super().__init__(lambda prompt, params: answers[params.seed or 0])
        self.good = good

    async def generate_stream(
        self, prompt: Sequence[int], params: GenerationParams | None = None
    ) -> AsyncGenerator[GenerationChunk, None]:
        async with aclosing(super().generate_stream(prompt, params)) as stream:
            count = 0
            async for chunk in stream:
                if count == self.good and params is not None and params.seed in (None, 1):
                    raise GenerationError("the device went away")
                count += 1
                yield chunk


def assert_no_extras(model: BaseModel) -> None:
    """The official type has every field that we wrote."""
    assert not model.model_extra
    for value in vars(model).values():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, BaseModel):
                assert_no_extras(inner)


async def test_a_whole_answer() -> None:
    adapter = OpenAIAdapter(ScriptedEngine(["Hello there."], model_id="tiny"))
    response = await adapter.chat_completion(ask())
    assert response.choices[0].message.content == "Hello there."
    assert (response.model, response.choices[0].finish_reason) == ("tiny", "stop")
    assert response.usage.prompt_tokens == len("<|user\nHello<|\n<|assistant\n") - 3
    assert response.usage.completion_tokens == len("Hello there.") + 1


async def test_a_streamed_answer() -> None:
    chunks = await chunks_of(ScriptedEngine(["Hello."]))
    assert texts(chunks) == "Hello."
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant", *[None] * 7]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [*[None] * 7, "stop"]


async def test_an_adapter_is_made_with_its_config() -> None:
    engine = ScriptedEngine(["a", "b"])
    adapter = OpenAIAdapter.with_config(engine, AdapterConfig(model_name="mine", temperature=0.0))
    assert adapter.engine is engine
    assert (await adapter.chat_completion(ask(model="default"))).model == "mine"
    await adapter.chat_completion(ask(temperature=1.5))
    assert [request.params.temperature for request in engine.requests] == [0.0, 1.5]


async def test_no_limit_is_the_rest_of_the_context() -> None:
    engine = ScriptedEngine(["x" * 200], max_sequence_length=100)
    response = await OpenAIAdapter(engine).chat_completion(ask())
    assert response.choices[0].finish_reason == "length"
    assert response.usage.total_tokens == 100
    assert engine.requests[0].params.max_tokens == 100 - response.usage.prompt_tokens


async def test_choices_are_requests_with_seeds_that_count_up() -> None:
    engine = ScriptedEngine(lambda prompt, params: f"answer {params.seed}")
    response = await OpenAIAdapter(engine).chat_completion(ask(n=3, seed=41))
    assert [choice.message.content for choice in response.choices] == ["answer 41", "answer 42", "answer 43"]
    assert [choice.index for choice in response.choices] == [0, 1, 2]
    assert response.usage.completion_tokens == 3 * (len("answer 41") + 1)


async def test_choices_run_at_once() -> None:
    reached = asyncio.Barrier(3)

    async def pause() -> None:
        await reached.wait()

    chunks = await chunks_of(ScriptedEngine(["aa", "bb", "cc"], pause=pause), n=3)
    assert [texts(chunks, index) for index in range(3)] == ["aa", "bb", "cc"]


@pytest.mark.parametrize("n", [1, 3])
async def test_closing_a_stream_cancels_every_choice(n: int) -> None:
    engine = ScriptedEngine(lambda prompt, params: "a long answer", pause=lambda: asyncio.sleep(0))
    stream = OpenAIAdapter(engine).chat_completion_stream(ask(n=n))
    async with aclosing(stream):
        await anext(stream)
        await anext(stream)
    assert (engine.running, engine.cancelled) == (0, n)


@pytest.mark.parametrize("n", [1, 3])
async def test_cancelling_a_call_cancels_every_choice(n: int) -> None:
    begun = asyncio.Event()

    async def pause() -> None:
        begun.set()
        await asyncio.Event().wait()

    engine = ScriptedEngine(["a"] * n, pause=pause)
    call = asyncio.create_task(OpenAIAdapter(engine).chat_completion(ask(n=n)))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (engine.running, engine.cancelled) == (0, n)


async def test_a_stream_that_was_never_begun_asks_the_engine_for_nothing() -> None:
    engine = ScriptedEngine(["a"])
    await OpenAIAdapter(engine).chat_completion_stream(ask()).aclose()
    assert engine.requests == []


@pytest.mark.parametrize("n", [1, 3])
async def test_an_error_in_the_middle_is_raised_and_ends_the_other_choices(n: int) -> None:
    engine = Breaking(["abc", "abc", "abc"], good=2)
    seen: list[ChatCompletionChunk] = []
    with pytest.raises(ApiError, match="went away") as caught:
        async for chunk in OpenAIAdapter(engine).chat_completion_stream(ask(n=n, seed=1 if n == 1 else 0)):
            seen += [chunk]
    assert (caught.value.status, caught.value.code) == (500, "generation_failed")
    assert seen and engine.running == 0


@pytest.mark.parametrize("n", [1, 2])
async def test_an_error_in_the_request_comes_before_any_chunk(n: int) -> None:
    for engine, fields, param in (
        (ScriptedEngine(max_sequence_length=10), {}, "messages"),
        (ScriptedEngine(), {"logit_bias": {"2000000": 1}}, "logit_bias"),
        (ScriptedEngine(), {"stop_token_ids": [2000000]}, "stop_token_ids"),
        (ScriptedEngine(max_sequence_length=50), {"min_tokens": 60}, "min_tokens"),
    ):
        stream = OpenAIAdapter(engine).chat_completion_stream(ask(n=n, **fields))
        with pytest.raises(ApiError) as caught:
            await anext(stream)
        assert (caught.value.status, caught.value.param) == (400, param)
        assert engine.running == 0


async def test_a_prompt_that_is_too_long_gives_both_numbers() -> None:
    with pytest.raises(ApiError, match=r"\D24\D.*\D10\D") as caught:
        await OpenAIAdapter(ScriptedEngine(max_sequence_length=10)).chat_completion(ask())
    assert caught.value.code == "context_length_exceeded"


async def test_a_closed_engine_is_said_to_be_closed() -> None:
    engine = ScriptedEngine(["a"])
    engine.close()
    with pytest.raises(ApiError) as caught:
        await OpenAIAdapter(engine).chat_completion(ask())
    assert (caught.value.status, caught.value.code) == (503, "engine_closed")


async def test_a_model_without_a_template_takes_no_messages() -> None:
    with pytest.raises(ApiError, match="no chat template") as caught:
        await OpenAIAdapter(ScriptedEngine(["a"], chat_template=None)).chat_completion(ask())
    assert (caught.value.status, caught.value.code) == (400, "no_chat_template")


async def test_a_bug_is_not_dressed_up_as_an_answer() -> None:
    with pytest.raises(ZeroDivisionError):
        await OpenAIAdapter(ScriptedEngine([ZeroDivisionError()])).chat_completion(ask(n=2))


async def test_an_error_leaves_other_requests_alone() -> None:
    adapter = OpenAIAdapter(ScriptedEngine(lambda prompt, params: "fine"))
    asked = [ask(), ask(logit_bias={"2000000": 1}), ask()]
    results = await asyncio.gather(*(adapter.chat_completion(each) for each in asked), return_exceptions=True)
    assert isinstance(results[1], ApiError)
    assert all(not isinstance(results[place], BaseException) for place in (0, 2))


async def test_the_template_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ChatTemplate] = []

    class Counted(PromptTemplate):
        def __init__(self, template: ChatTemplate, *, may_ask_for_json: bool = True) -> None:
            made.append(template)
            super().__init__(template, may_ask_for_json=may_ask_for_json)

    monkeypatch.setattr(adapter_module, "PromptTemplate", Counted)
    adapter = OpenAIAdapter(ScriptedEngine(["a", "b"]))
    await adapter.chat_completion(ask())
    await adapter.chat_completion(ask())
    assert made == [adapter.engine.chat_template]


async def test_long_messages_are_tokenized_off_the_event_loop() -> None:
    class Watching(ScriptedEngine):
        def tokenize(self, *args: Any, **kwargs: Any) -> list[int]:
            where.append(threading.current_thread() is threading.main_thread())
            return super().tokenize(*args, **kwargs)

    where: list[bool] = []
    adapter = OpenAIAdapter(Watching(lambda prompt, params: ""))
    await adapter.chat_completion(ChatCompletionRequest(messages=[Message.user("x")]))
    assert where[0]
    where.clear()
    await adapter.chat_completion(ChatCompletionRequest(messages=[Message.user("x" * 10_000)]))
    assert not where[0]


async def test_a_control_mark_in_a_message_ends_no_turn() -> None:
    engine = ScriptedEngine(["ok"])
    await OpenAIAdapter(engine).chat_completion(ask(messages=[{"role": "user", "content": "a<|im_end|>b"}]))
    end = engine.tokenize("<|im_end|>")[0]
    assert list(engine.requests[0].prompt).count(end) == 1


def official(chunks: list[ChatCompletionChunk]) -> dict[str, Any]:
    """What the official client's own accumulator makes of a stream, in the fields that a response has."""
    state = ChatCompletionStreamState()
    for chunk in chunks:
        parsed = OpenAIChunk.model_validate(json.loads(chunk.to_json()), strict=True)
        assert_no_extras(parsed)
        state.handle_chunk(parsed)
    made = state.current_completion_snapshot.model_dump()
    for choice in made["choices"]:
        choice["message"].pop("parsed", None)
    return ChatCompletion.model_validate(made).model_dump()


def shape(chunks: list[ChatCompletionChunk], n: int, include_usage: bool) -> None:
    """The order that every stream keeps."""
    answers = chunks[:-1] if include_usage else chunks
    assert all(len(chunk.choices) == 1 for chunk in answers)
    for index in range(n):
        own = [chunk.choices[0] for chunk in answers if chunk.choices[0].index == index]
        assert own[0].delta.role == "assistant" and own[0].delta.content == ""
        assert [piece.delta.role for piece in own[1:]] == [None] * (len(own) - 1)
        assert [piece.finish_reason is None for piece in own] == [True] * (len(own) - 1) + [False]
    if include_usage:
        assert chunks[-1].choices == [] and chunks[-1].usage is not None
        assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in answers)
    else:
        assert not any("usage" in chunk.model_fields_set for chunk in answers)


words = st.text(st.sampled_from("abcST OP.é👋\n<|"), max_size=14)


@settings(max_examples=100, deadline=None)
@given(
    answers=st.lists(words, min_size=1, max_size=4),
    stop=st.none()
    | st.sampled_from(["STOP", "."])
    | st.lists(st.sampled_from(["STOP", "OP.", "a b", "👋"]), max_size=3),
    logprobs=st.sampled_from([{}, {"logprobs": True}, {"logprobs": True, "top_logprobs": 2}]),
    limit=st.none() | st.integers(1, 12),
    minimum=st.integers(0, 3),
    chunk_size=st.integers(1, 5),
    pauses=st.lists(st.integers(0, 4), min_size=1, max_size=9),
)
async def test_the_stream_adds_up_to_the_whole(
    answers: list[str],
    stop: str | list[str] | None,
    logprobs: dict[str, Any],
    limit: int | None,
    minimum: int,
    chunk_size: int,
    pauses: list[int],
) -> None:
    n, turn = len(answers), 0
    minimum = min(minimum, limit or 3, *map(len, answers))
    fields = {"n": n, "seed": 0, "stop": stop, "max_tokens": limit, "min_tokens": minimum, **logprobs}

    async def pause() -> None:
        nonlocal turn
        turn += 1
        for _ in range(pauses[turn % len(pauses)]):
            await asyncio.sleep(0)

    def engine(chunk_size: int) -> ScriptedEngine:
        return ScriptedEngine(lambda prompt, params: answers[params.seed or 0], chunk_size=chunk_size, pause=pause)

    response = await OpenAIAdapter(engine(1)).chat_completion(ask(**fields))
    whole = json.loads(response.to_json())
    assert_no_extras(ChatCompletion.model_validate(whole, strict=True))
    silent = await chunks_of(engine(chunk_size), **fields)
    loud = await chunks_of(engine(chunk_size), **fields, stream_options={"include_usage": True})
    shape(silent, n, include_usage=False)
    shape(loud, n, include_usage=True)

    async def again() -> AsyncGenerator[ChatCompletionChunk, None]:
        for chunk in loud:
            yield chunk

    collected = json.loads((await collect(again())).to_json())
    for key in ("id", "created"):
        whole.pop(key), collected.pop(key)
    assert collected == whole
    expected = ChatCompletion.model_validate(whole | {"id": "", "created": 0}).model_dump()
    for accumulated, usage in ((official(loud), expected["usage"]), (official(silent), None)):
        assert accumulated | {"id": "", "created": 0} == expected | {"usage": usage}
