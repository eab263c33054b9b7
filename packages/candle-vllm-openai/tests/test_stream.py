import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from candle_vllm_openai import (
    ApiError,
    ChatCompletionChunk,
    ChoiceDelta,
    ChunkChoice,
    FinishReason,
    FunctionCall,
    FunctionCallDelta,
    GenerationChunk,
    GenerationOutput,
    GenerationStats,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    collect,
    merge_tool_call_delta,
    to_chat_response,
)
from candle_vllm_openai.stream import ChunkWriter

STATS = GenerationStats(prompt_tokens=10, cached_tokens=4, generated_tokens=3)


def output(reason: FinishReason = FinishReason.STOP, **fields: object) -> GenerationOutput:
    return GenerationOutput(tokens=(1, 2, 3), text="Hi!", finish_reason=reason, stats=STATS, **fields)  # type: ignore[arg-type]


def last(made: GenerationOutput, text: str = "") -> GenerationChunk:
    return GenerationChunk(text=text, finish_reason=made.finish_reason, output=made)


def written(writer: ChunkWriter, *pieces: tuple[int, GenerationChunk]) -> list[ChatCompletionChunk]:
    return [chunk for index, piece in pieces for chunk in writer.write(index, piece)]


async def stream(chunks: list[ChatCompletionChunk]) -> AsyncIterator[ChatCompletionChunk]:
    for chunk in chunks:
        yield chunk


def test_an_answer_is_role_pieces_end() -> None:
    chunks = written(
        ChunkWriter("m"), (0, GenerationChunk(text="Hi")), (0, GenerationChunk()), (0, last(output(), "!"))
    )
    assert [json.loads(chunk.to_json())["choices"] for chunk in chunks] == [
        [{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "Hi"}, "logprobs": None, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "!"}, "logprobs": None, "finish_reason": None}],
        [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}],
    ]


def test_the_roles_of_all_choices_come_first_and_in_order() -> None:
    chunks = written(ChunkWriter("m", num_choices=3), (2, GenerationChunk(text="x")), (0, GenerationChunk(text="y")))
    assert [chunk.choices[0].index for chunk in chunks] == [0, 1, 2, 2, 0]
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant"] * 3 + [None] * 2


def test_chunks_of_one_completion_share_their_head() -> None:
    writer = ChunkWriter("m", include_usage=True)
    chunks = [*written(writer, (0, last(output(), "x"))), writer.usage()]
    heads = {(chunk.id, chunk.object, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in chunks}
    assert heads == {(writer.id, "chat.completion.chunk", writer.created, "m", None)}
    assert writer.id.startswith("chatcmpl-") and int(writer.id.removeprefix("chatcmpl-"), 16)
    assert ChunkWriter("m").id != writer.id


def test_usage_is_null_until_the_last_chunk_if_asked_for_and_absent_if_not() -> None:
    writer = ChunkWriter("m", include_usage=True)
    chunks = [json.loads(chunk.to_json()) for chunk in [*written(writer, (0, last(output(), "x"))), writer.usage()]]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None, None, None]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    silent = written(ChunkWriter("m"), (0, last(output(), "x")))
    assert not any("usage" in json.loads(chunk.to_json()) for chunk in silent)


def test_usage_counts_the_prompt_once_and_every_answer() -> None:
    writer = ChunkWriter("m", num_choices=2, include_usage=True)
    second = GenerationOutput(
        tokens=(1,),
        text="",
        finish_reason=FinishReason.LENGTH,
        stats=GenerationStats(prompt_tokens=10, cached_tokens=8, generated_tokens=5),
    )
    written(writer, (1, last(second)), (0, last(output())))
    usage = writer.usage().usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (10, 8, 18)
    assert usage.prompt_tokens_details.cached_tokens == 4


@pytest.mark.parametrize(
    ("reason", "word"),
    [(FinishReason.STOP, "stop"), (FinishReason.STOP_SEQUENCE, "stop"), (FinishReason.LENGTH, "length")],
)
def test_finish_reasons(reason: FinishReason, word: str) -> None:
    assert to_chat_response(output(reason)).choices[0].finish_reason == word


@pytest.mark.parametrize(
    ("reason", "code", "status"),
    [(FinishReason.CANCELLED, "cancelled", 503), (FinishReason.ERROR, "generation_failed", 500)],
)
def test_an_answer_that_did_not_end_is_an_error(reason: FinishReason, code: str, status: int) -> None:
    with pytest.raises(ApiError) as caught:
        to_chat_response(output(reason, error="the model wrote noise"))
    assert (caught.value.code, caught.value.status) == (code, status)
    assert reason is FinishReason.CANCELLED or "the model wrote noise" in caught.value.message


def test_an_output_as_a_response() -> None:
    top = (TokenLogprob(7, "Hi", -0.25, (), b"Hi"), TokenLogprob(8, "\ufffd", -1.5, (), b"\xf0\x9f"))
    logprobs = (
        TokenLogprob(7, "Hi", -0.25, top, b"Hi"),
        TokenLogprob(9, "!", -0.5, (), b"!"),
        TokenLogprob(0, "", -0.1),
    )
    response = to_chat_response(output(logprobs=logprobs), model="tiny")
    body = json.loads(response.to_json())
    ChatCompletion.model_validate(body, strict=True)
    assert body == {
        "id": response.id,
        "object": "chat.completion",
        "created": response.created,
        "model": "tiny",
        "system_fingerprint": None,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi!", "refusal": None},
                "logprobs": {
                    "content": [
                        {
                            "token": "Hi",
                            "logprob": -0.25,
                            "bytes": [72, 105],
                            "top_logprobs": [
                                {"token": "Hi", "logprob": -0.25, "bytes": [72, 105]},
                                {"token": "\ufffd", "logprob": -1.5, "bytes": [240, 159]},
                            ],
                        },
                        {"token": "!", "logprob": -0.5, "bytes": [33], "top_logprobs": []},
                    ],
                    "refusal": None,
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 3,
            "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def test_every_token_of_an_answer_cut_short_has_its_logprob() -> None:
    logprobs = tuple(TokenLogprob(token, "x", -1.0, (), b"x") for token in (1, 2, 3))
    for reason in (FinishReason.LENGTH, FinishReason.STOP_SEQUENCE):
        response = to_chat_response(output(reason, logprobs=logprobs))
        assert response.choices[0].logprobs is not None and response.choices[0].logprobs.content is not None
        assert len(response.choices[0].logprobs.content) == 3


def test_logprobs_go_out_with_their_tokens_even_while_the_text_is_held_back() -> None:
    held = GenerationChunk(tokens=(1,), text="", logprobs=(TokenLogprob(1, "S", -1.0, (), b"S"),))
    chunks = written(ChunkWriter("m"), (0, held))
    assert len(chunks) == 2
    piece = chunks[1].choices[0]
    assert piece.delta.content == "" and piece.logprobs is not None and piece.logprobs.content is not None
    assert [entry.token for entry in piece.logprobs.content] == ["S"]


async def test_a_stream_without_its_end_is_no_response() -> None:
    writer = ChunkWriter("m", num_choices=2, include_usage=True)
    begun = written(writer, (0, last(output())), (1, GenerationChunk(text="x")))
    with pytest.raises(ValueError, match="usage"):
        await collect(stream(begun))
    with pytest.raises(ValueError, match="choice 1"):
        await collect(stream([*begun, writer.usage()]))
    with pytest.raises(ValueError, match="usage"):
        await collect(stream([]))


def delta(index: int, id: str | None = None, name: str | None = None, arguments: str | None = None) -> ToolCallDelta:
    function = FunctionCallDelta(name=name, arguments=arguments)
    return ToolCallDelta(index=index, id=id, type="function" if id else None, function=function)


def call(id: str, name: str, arguments: str) -> ToolCall:
    return ToolCall(id=id, type="function", function=FunctionCall(name=name, arguments=arguments))


def test_tool_calls_are_merged_by_index() -> None:
    calls: list[ToolCall] = []
    for piece in (
        delta(0, "a", "f"),
        delta(0, arguments='{"x'),
        delta(1, "b", "g", "{"),
        delta(0, arguments='": 1}'),
        delta(1, arguments="}"),
        ToolCallDelta(index=1),
    ):
        before = list(calls)
        merged = merge_tool_call_delta(calls, piece)
        assert calls == before
        calls = merged
    assert calls == [call("a", "f", '{"x": 1}'), call("b", "g", "{}")]


@pytest.mark.parametrize("piece", [delta(1, "a", "f"), delta(-1, "a", "f"), delta(0, None, "f"), delta(0, "a", None)])
def test_a_piece_that_belongs_to_no_call_is_an_error(piece: ToolCallDelta) -> None:
    with pytest.raises(ValueError, match="tool call"):
        merge_tool_call_delta([], piece)


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=30)), max_size=4), st.randoms())
def test_any_cut_of_tool_calls_merges_to_the_same(wanted: list[tuple[str, str]], random: object) -> None:
    expected = [call(f"id{place}", f"f{name}", arguments) for place, (name, arguments) in enumerate(wanted)]
    calls: list[ToolCall] = []
    for place, made in enumerate(expected):
        calls = merge_tool_call_delta(calls, delta(place, made.id, made.function.name))
        for character in made.function.arguments:
            calls = merge_tool_call_delta(calls, delta(place, arguments=character))
    assert calls == expected


async def test_collected_tool_calls_stand_in_the_message() -> None:
    writer = ChunkWriter("m", include_usage=True)
    begin, *_, end = written(writer, (0, last(output())))
    body = begin.model_copy(
        update={
            "choices": [
                ChunkChoice(
                    index=0, delta=ChoiceDelta(tool_calls=[delta(0, "a", "f", "{}")]), logprobs=None, finish_reason=None
                )
            ]
        }
    )
    response = await collect(stream([begin, body, end, writer.usage()]))
    assert response.choices[0].message.tool_calls == [call("a", "f", "{}")]
