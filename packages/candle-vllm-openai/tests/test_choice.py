"""What a model's text becomes in a response: content, reasoning, calls, and why it ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from streams import TEMPLATE

from candle_vllm_openai import (
    AdapterConfig,
    ChatCompletionResponse,
    ConfigError,
    FinishReason,
    GenerationChunk,
    GenerationOutput,
    OpenAIAdapter,
    ScriptedEngine,
    TokenLogprob,
    parse_request,
    to_chat_response,
)
from candle_vllm_openai.choice import ParsedWriter, PlainWriter
from candle_vllm_openai.formats import FORMATS, Offered

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "tools": TOOLS}
QWEN = AdapterConfig(parser="qwen", reasoning="think")


def engine_of(*answers: str, template: str = TEMPLATE, **settings: Any) -> ScriptedEngine:
    return ScriptedEngine(answers, chat_template=template, **settings)


async def whole(*answers: str, config: AdapterConfig = QWEN, **fields: Any) -> ChatCompletionResponse:
    adapter = OpenAIAdapter(engine_of(*answers), config)
    return await adapter.chat_completion(parse_request({**ASK, "n": len(answers), **fields}))


async def test_deltas_come_in_the_order_of_the_text_and_a_call_by_its_name_first() -> None:
    engine = engine_of(f"<think>Hm.</think>Yes.\n{CALL}", chunk_size=[100])
    request = parse_request({**ASK, "stream": True})
    chunks = [chunk async for chunk in OpenAIAdapter(engine, QWEN).chat_completion_stream(request)]
    deltas = [json.loads(chunk.to_json())["choices"][0] for chunk in chunks]
    call_id = deltas[3]["delta"]["tool_calls"][0].pop("id")
    assert call_id.startswith("call_") and len(call_id) > 20
    assert [delta["delta"] for delta in deltas] == [
        {"role": "assistant", "content": None},
        {"reasoning_content": "Hm."},
        {"content": "Yes."},
        {"tool_calls": [{"index": 0, "type": "function", "function": {"name": "add", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]},
        {},
    ]
    assert [delta["finish_reason"] for delta in deltas] == [None] * 5 + ["tool_calls"]


@pytest.mark.parametrize(
    ("text", "fields", "word", "arguments"),
    [
        ("Yes.", {}, "stop", []),
        (CALL, {}, "tool_calls", ['{"a": 1}']),
        (f"Yes.{CALL} {CALL}\n", {}, "tool_calls", ['{"a": 1}'] * 2),
        (CALL, {"max_tokens": len(CALL)}, "length", ['{"a": 1}']),
        (CALL, {"max_tokens": CALL.index("1")}, "length", ['{"a": ']),
        (CALL, {"stop": " 1"}, "stop", ['{"a":']),
        (CALL, {"stop": "</tool_call>"}, "tool_calls", ['{"a": 1}']),
        (CALL[: CALL.index("1")], {}, "stop", ['{"a": ']),
        (CALL[: CALL.rindex("}")], {}, "tool_calls", ['{"a": 1}']),
        (f"{CALL}{CALL[:-18]}", {}, "stop", ['{"a": 1}', '{"a"']),
        (CALL, {"tool_choice": "none"}, "stop", []),
        (CALL.replace("add", "unknown"), {}, "stop", []),
    ],
)
async def test_why_an_answer_ended(text: str, fields: dict[str, Any], word: str, arguments: list[str]) -> None:
    choice = (await whole(text, **fields)).choices[0]
    calls = choice.message.tool_calls or []
    assert (choice.finish_reason, [call.function.arguments for call in calls]) == (word, arguments)
    assert (choice.message.content is None) == (bool(calls) and not text.startswith("Yes."))


@pytest.mark.parametrize(
    ("text", "content", "thought"),
    [
        ("", "", None),
        ("<think></think>", "", None),
        ("<think>Hm.", "", "Hm."),
        ("<think>Hm.</think>", "", "Hm."),
        ("<think>Hm.</think>\n\nYes.\n", "Yes.\n", "Hm."),
        (f"Yes.\n\n{CALL}\n\n{CALL}\n", "Yes.", None),
        (f"{CALL}\nDone.", "Done.", None),
        ('<tool_call>{"name": "add", "arguments": {}, oops}</tool_call> No.', ", oops}</tool_call> No.", None),
        (f"<think>Hm. {CALL}</think> {CALL} ", None, f"Hm. {CALL}"),
    ],
)
async def test_what_is_content_and_what_is_reasoning(text: str, content: str | None, thought: str | None) -> None:
    response = await whole(text, logprobs=True)
    message, logprobs = response.choices[0].message, response.choices[0].logprobs
    assert (message.content, message.reasoning_content) == (content, thought)
    assert "".join(entry.token for entry in logprobs.content or ()) == content if logprobs else not content
    assert response.usage.completion_tokens_details.reasoning_tokens == len(thought or "")
    assert ("reasoning_content" in message.model_fields_set) == (thought is not None)


async def test_the_tokens_of_the_stop_text_that_ended_the_content_are_among_its_tokens() -> None:
    for text, expected in (("Yes. STOP", "Yes. STOP"), (f"Yes. {CALL} STOP", "Yes.")):
        logprobs = (await whole(text, logprobs=True, stop="STOP")).choices[0].logprobs
        assert logprobs is not None and "".join(entry.token for entry in logprobs.content or ()) == expected


async def test_an_engines_own_output_is_read_too() -> None:
    text = f"<think>Hm.</think>Yes.{CALL}"
    output = engine_of(text).generate_sync([1])
    choice = to_chat_response(output, parser_name="qwen").choices[0]
    expected = (await whole(text)).choices[0]
    assert choice.message.tool_calls is not None and expected.message.tool_calls is not None
    assert choice.message.tool_calls[0].function == expected.message.tool_calls[0].function
    assert (choice.message.content, choice.message.reasoning_content) == ("Yes.", "Hm.")
    assert choice.finish_reason == expected.finish_reason
    assert to_chat_response(output).choices[0].message.content == text


async def test_reasoning_that_the_prompt_has_opened() -> None:
    engine = engine_of("Hm.</think>Yes.", template=TEMPLATE + "<think>\n")
    message = (await OpenAIAdapter(engine, QWEN).chat_completion(parse_request(ASK))).choices[0].message
    assert (message.reasoning_content, message.content) == ("Hm.", "Yes.")


async def test_reasoning_is_read_without_tools_and_calls_are_not() -> None:
    message = (await whole(f"<think>Hm.</think>{CALL}", tools=None)).choices[0].message
    assert (message.reasoning_content, message.content, message.tool_calls) == ("Hm.", CALL, None)


async def test_ids_of_calls_are_unlike_in_all_choices() -> None:
    response = await whole(CALL * 2, CALL, CALL)
    ids = [call.id for choice in response.choices for call in choice.message.tool_calls or ()]
    assert len(ids) == len(set(ids)) == 4


async def test_marks_that_are_special_tokens_are_read_only_where_they_are_looked_for() -> None:
    text = f"<think>Hm.</think>Yes.{CALL}"
    special = ["<tool_call>", "</tool_call>", "<think>", "</think>", "<other>"]
    engine = ScriptedEngine([text, text, text], chat_template=TEMPLATE, special_tokens=special)
    adapter = OpenAIAdapter(engine, QWEN)
    message = (await adapter.chat_completion(parse_request(ASK))).choices[0].message
    assert (message.content, message.reasoning_content, len(message.tool_calls or ())) == ("Yes.", "Hm.", 1)
    await adapter.chat_completion(parse_request({**ASK, "tool_choice": "none"}))
    await OpenAIAdapter(engine, AdapterConfig(reasoning="none")).chat_completion(parse_request({**ASK, "tools": None}))
    shown = [
        [engine.detokenize([id], skip_special_tokens=False) for id in asked.params.shown_special_ids]
        for asked in engine.requests
    ]
    assert [set(texts) for texts in shown] == [set(special[:4]), set(special[2:4]), set()]


async def test_the_models_own_template_shows_how_it_calls_and_reasons() -> None:
    shows = "{# <think> </think> <tool_call> #}"
    adapter = OpenAIAdapter(engine_of(f"<think>Hm.</think>{CALL}", template=TEMPLATE + shows))
    message = (await adapter.chat_completion(parse_request(ASK))).choices[0].message
    assert message.reasoning_content == "Hm." and message.tool_calls is not None


async def test_a_template_of_the_config_stands_in_for_the_models() -> None:
    engine = engine_of("Yes.", "Yes.")
    given = AdapterConfig(chat_template="{% for message in messages %}<|im_start|>{{ message.content }}{% endfor %}")
    await OpenAIAdapter(engine, given).chat_completion(
        parse_request({"messages": [{"role": "user", "content": "a<|im_end|>"}]})
    )
    start, end = engine.tokenize("<|im_start|><|im_end|>")
    assert engine.requests[0].prompt == [start, *engine.tokenize("a<|im_end|>", control_marks=False)]
    assert end not in engine.requests[0].prompt
    bare = ScriptedEngine(["Yes."], chat_template=None)
    await OpenAIAdapter(bare, given).chat_completion(
        parse_request({"messages": [{"role": "user", "content": "a<|im_end|>"}]})
    )
    assert bare.requests[0].prompt == engine.requests[0].prompt


@pytest.mark.parametrize("field", ["parser", "reasoning"])
def test_names_that_there_are_not_are_refused_at_once(field: str) -> None:
    with pytest.raises(ConfigError, match="qwenn.*auto"):
        AdapterConfig(**{field: "qwenn"})


async def test_a_fingerprint_stands_for_what_an_answer_depends_on() -> None:
    async def fingerprint(template: str = TEMPLATE, config: AdapterConfig = QWEN) -> str | None:
        adapter = OpenAIAdapter(engine_of("Yes.", template=template), config)
        return (await adapter.chat_completion(parse_request(ASK))).system_fingerprint

    first = await fingerprint()
    assert first is not None and first.startswith("fp_")
    assert await fingerprint() == first
    assert await fingerprint(TEMPLATE + " ") != first
    assert await fingerprint(config=AdapterConfig(chat_template=TEMPLATE + " ")) == await fingerprint(TEMPLATE + " ")


def test_a_token_of_half_a_character_goes_with_the_character() -> None:
    halves = [TokenLogprob(1, "\ufffd", -1.0, (), b"\xc3"), TokenLogprob(2, "\ufffd", -1.0, (), b"\xa9")]
    hidden = TokenLogprob(3, "<other>", -1.0, (), b"<other>")
    pieces = [
        GenerationChunk(
            tokens=(0,), text="</think>", ends=(8,), logprobs=(TokenLogprob(0, "</think>", 0.0, (), b"</think>"),)
        ),
        GenerationChunk(tokens=(1,), text="", ends=(8,), logprobs=(halves[0],)),
        GenerationChunk(tokens=(3,), text="", ends=(8,), logprobs=(hidden,)),
        GenerationChunk(tokens=(2,), text="é", ends=(9,), logprobs=(halves[1],)),
        GenerationChunk(
            finish_reason=FinishReason.STOP,
            output=GenerationOutput(tokens=(0, 1, 3, 2), text="</think>é", finish_reason=FinishReason.STOP),
        ),
    ]
    for writer, expected in ((ParsedWriter(FORMATS["passthrough"].grammar(Offered({}))), 3), (PlainWriter(), 3)):
        written = [each for piece in pieces for each in writer.write(piece)]
        entries = [entry for each in written if each.logprobs for entry in each.logprobs.content or ()]
        assert b"".join(bytes(entry.bytes or ()) for entry in entries) == "</think>é".encode()
        assert len(entries) == expected


def test_the_last_token_of_an_answer_that_a_constraint_ends_is_part_of_it() -> None:
    entry = TokenLogprob(1, "}", -1.0, (), b"}")
    output = GenerationOutput(tokens=(1,), text="}", finish_reason=FinishReason.STOP, ends=(1,), logprobs=(entry,))
    piece = GenerationChunk(
        tokens=(1,), text="}", ends=(1,), logprobs=(entry,), finish_reason=FinishReason.STOP, output=output
    )
    (written,) = PlainWriter().write(piece)
    assert written.logprobs is not None and [each.token for each in written.logprobs.content or ()] == ["}"]
