"""Text completions over the scripted engine: what each field does, and that streams add up."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping
from typing import Any

import pytest

from candle_vllm_openai import (
    AdapterConfig,
    ApiError,
    Completion,
    CompletionRequest,
    GenerationError,
    OpenAIAdapter,
    ScriptedEngine,
    collect_completion,
    parse_body,
)
from candle_vllm_openai.completion_logprobs import prompt_offsets


def request(**fields: Any) -> CompletionRequest:
    return parse_body({"prompt": "Say it:"} | fields, CompletionRequest)


def refused(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        request(**fields)
    return caught.value


async def whole(engine: ScriptedEngine, **fields: Any) -> Completion:
    return await OpenAIAdapter(engine).completion(request(**fields))


async def streamed(engine: ScriptedEngine, **fields: Any) -> list[Completion]:
    asked = request(stream=True, stream_options={"include_usage": True}, **fields)
    return [chunk async for chunk in OpenAIAdapter(engine).completion_stream(asked)]


def said(completion: Completion) -> Mapping[str, Any]:
    return completion.model_dump(exclude={"id", "created"}, exclude_unset=True)


async def test_a_prompt_is_answered_in_openais_shape() -> None:
    engine = ScriptedEngine(["Hello."], model_id="org/scripted")
    completion = await whole(engine)
    assert said(completion) == {
        "object": "text_completion",
        "model": "org/scripted",
        "system_fingerprint": completion.system_fingerprint,
        "choices": [{"index": 0, "text": "Hello.", "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": 7,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }
    assert completion.id.startswith("cmpl-") and (completion.system_fingerprint or "").startswith("fp_")


async def test_sixteen_tokens_are_the_limit_unless_another_is_given() -> None:
    engine = ScriptedEngine(["x" * 100] * 3)
    assert [(await whole(engine, **limit)).choices[0].text for limit in ({}, {"max_tokens": 3})] == ["x" * 16, "xxx"]
    completion = await whole(engine, max_tokens=None)
    assert (len(completion.choices[0].text), completion.choices[0].finish_reason) == (16, "length")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("ab", ["ab"]),
        (["ab", "cd"], ["ab", "cd"]),
        ([97, 98], ["ab"]),
        ([[97], [98, 99]], ["a", "bc"]),
    ],
)
async def test_a_prompt_is_text_or_ids_one_or_many(prompt: object, expected: list[str]) -> None:
    engine = ScriptedEngine(lambda prompt, params: prompt.upper())
    completion = await whole(engine, prompt=prompt, echo=True)
    assert [choice.text for choice in completion.choices] == [text + text.upper() for text in expected]
    assert [choice.index for choice in completion.choices] == list(range(len(expected)))


async def test_many_prompts_are_answered_n_times_each_with_their_own_seeds_and_one_usage() -> None:
    engine = ScriptedEngine(lambda prompt, params: f"{prompt}{params.seed}")
    completion = await whole(engine, prompt=["a", "bcd"], n=3, seed=5)
    assert [choice.text for choice in completion.choices] == ["a5", "a6", "a7", "bcd5", "bcd6", "bcd7"]
    usage = completion.usage
    assert usage is not None and (usage.prompt_tokens, usage.completion_tokens) == (1 + 3, 3 * 3 + 3 * 5)


async def test_echo_with_log_probabilities_gives_those_of_the_prompt_too() -> None:
    completion = await whole(ScriptedEngine(["né"]), prompt="Ça", echo=True, logprobs=1)
    choice = completion.choices[0]
    assert choice.text == "Çané" and choice.logprobs is not None
    assert choice.logprobs.tokens == ["Ç", "a", "n", "é"]
    assert choice.logprobs.token_logprobs == [None, 0.0, 0.0, 0.0]
    assert choice.logprobs.top_logprobs == [None, {"a": 0.0}, {"n": 0.0}, {"é": 0.0}]
    assert choice.logprobs.text_offset == [0, 1, 2, 3]


async def test_without_echo_offsets_begin_with_the_answer_and_the_prompt_has_no_log_probabilities() -> None:
    engine = ScriptedEngine(["no", "no"])
    choice = (await whole(engine, logprobs=0)).choices[0]
    assert choice.logprobs is not None
    assert (choice.logprobs.tokens, choice.logprobs.text_offset) == (["n", "o"], [0, 1])
    assert choice.logprobs.top_logprobs == [{"n": 0.0}, {"o": 0.0}]
    assert engine.requests[0].params.prompt_logprobs is None
    assert (await whole(engine)).choices[0].logprobs is None


async def test_a_limit_of_zero_writes_nothing_but_the_prompt() -> None:
    engine = ScriptedEngine(["never seen", "", "never seen"])
    for fields in ({"echo": True, "logprobs": 0}, {"echo": True, "logprobs": 0}):
        completion = await whole(engine, prompt="ab", max_tokens=0, **fields)
        choice, usage = completion.choices[0], completion.usage
        assert (choice.text, choice.finish_reason) == ("ab", "length")
        assert choice.logprobs is not None and choice.logprobs.tokens == ["a", "b"]
        assert usage is not None and (usage.prompt_tokens, usage.completion_tokens) == (2, 0)
    assert (await whole(engine, max_tokens=0)).choices[0].text == ""


async def test_an_answer_ends_before_its_stop_text() -> None:
    completion = await whole(ScriptedEngine(["one two three"]), stop=[" th", "zz"], logprobs=0)
    choice = completion.choices[0]
    assert (choice.text, choice.finish_reason) == ("one two", "stop")


async def test_what_the_request_says_reaches_the_engine() -> None:
    engine = ScriptedEngine(["a"])
    fields = {
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 7,
        "min_p": 0.125,
        "repetition_penalty": 1.5,
        "presence_penalty": 1.0,
        "frequency_penalty": -1.0,
        "min_tokens": 1,
        "ignore_eos": True,
        "stop_token_ids": [9],
        "bad_words": ["no"],
        "priority": 3,
        "cache_salt": "mine",
    }
    await whole(engine, **fields, logit_bias={"65": 2.0}, structured_outputs={"choice": ["a", "b"]})
    params = engine.requests[0].params
    found = {name: getattr(params, name) for name in fields}
    assert found == fields | {"stop_token_ids": (9,), "bad_words": ("no",)}
    assert params.logit_bias == {65: 2.0}
    assert params.constraint is not None and params.constraint.choice == ("a", "b")


@pytest.mark.parametrize(
    ("outputs", "name", "value"),
    [
        ({"json": {"type": "object"}}, "json_schema", '{"type":"object"}'),
        ({"json_object": True}, "json_object", True),
        ({"regex": "a+"}, "regex", "a+"),
        ({"grammar": 'start: "a"'}, "grammar", 'start: "a"'),
        ({"json_object": True, "disable_any_whitespace": True}, "compact", True),
    ],
)
async def test_structured_outputs_become_a_constraint(outputs: dict[str, Any], name: str, value: object) -> None:
    engine = ScriptedEngine(["a"])
    await whole(engine, structured_outputs=outputs)
    constraint = engine.requests[0].params.constraint
    found = getattr(constraint, name)
    assert (found.replace(" ", "") if name == "json_schema" else found) == value


async def test_defaults_of_the_adapter_fill_what_is_left_out() -> None:
    engine = ScriptedEngine(["a", "b"])
    adapter = OpenAIAdapter.with_config(engine, AdapterConfig(model_name="mine", temperature=0.25))
    assert (await adapter.completion(request())).model == "mine"
    await adapter.completion(request(temperature=0.75))
    assert [each.params.temperature for each in engine.requests] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"suffix": "x"}, "suffix", "unsupported_field"),
        ({"n": 2, "best_of": 3}, "best_of", "unsupported_field"),
        ({"prompt_embeds": "x"}, "prompt_embeds", "unsupported_field"),
        ({"messages": []}, "messages", "unsupported_field"),
        ({"logprobs": 6}, "logprobs", "invalid_value"),
        ({"logprobs": True}, "logprobs", "invalid_value"),
        ({"logprobs": -1}, "logprobs", "invalid_value"),
        ({"n": 129}, "n", "invalid_value"),
        ({"prompt": ["x"] * 1025, "n": 2}, "n", "invalid_value"),
        ({"prompt": None}, "prompt", "invalid_value"),
        ({"prompt": []}, "prompt", "invalid_value"),
        ({"prompt": [[]]}, "prompt[0]", "invalid_value"),
        ({"prompt": ["x", 1]}, "prompt[1]", "invalid_value"),
        ({"prompt": [1, "x"]}, "prompt[1]", "invalid_value"),
        ({"prompt": [1, True]}, "prompt[1]", "invalid_value"),
        ({"prompt": [[1], [-1]]}, "prompt[1][0]", "invalid_value"),
        ({"prompt": {"a": 1}}, "prompt", "invalid_value"),
        ({"prompt": ["x"] * 2049}, "prompt", "invalid_value"),
        ({"max_tokens": -1}, "max_tokens", "invalid_value"),
        ({"max_tokens": 3, "min_tokens": 4}, "min_tokens", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(fields: dict[str, Any], param: str, code: str) -> None:
    error = refused(**fields)
    assert (error.status, error.param, error.code) == (400, param, code)
    assert f"`{param}`" in error.message


@pytest.mark.parametrize("prompt", ["x" * 50, [1] * 50, ["x", "x" * 50], "", ["x", ""], [[1], [0x110000 + 99]]])
async def test_an_error_in_any_prompt_names_it_before_any_chunk_comes(prompt: object) -> None:
    engine = ScriptedEngine(lambda prompt, params: "fine", max_sequence_length=50)
    for call in (whole, streamed):
        with pytest.raises(ApiError) as caught:
            await call(engine, prompt=prompt)
        assert (caught.value.status, caught.value.param) == (400, "prompt")
    assert engine.requests == []


async def test_a_prompt_that_is_too_long_is_an_error_with_both_numbers() -> None:
    with pytest.raises(ApiError, match="50 tokens.*at most 50") as caught:
        await whole(ScriptedEngine(max_sequence_length=50), prompt="x" * 50)
    assert caught.value.code == "context_length_exceeded"


async def test_an_answer_that_fails_fails_the_call() -> None:
    engine = ScriptedEngine(["fine", GenerationError("the device is gone")])
    with pytest.raises(ApiError, match="the device is gone"):
        await whole(engine, n=2)
    assert engine.running == 0


async def test_closing_a_stream_cancels_every_answer() -> None:
    engine = ScriptedEngine(["a long answer"] * 4, pause=lambda: asyncio.sleep(0))
    stream = OpenAIAdapter(engine).completion_stream(request(prompt=["a", "b"], n=2, stream=True))
    await anext(stream)
    await stream.aclose()
    assert (engine.running, engine.cancelled) == (0, 4)


async def test_usage_is_null_until_the_chunk_that_has_it_and_absent_unless_asked_for() -> None:
    chunks = await streamed(ScriptedEngine(["ab"]))
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert '"usage":null' in chunks[0].to_json() and chunks[-1].choices == []
    plain = [c async for c in OpenAIAdapter(ScriptedEngine(["ab"])).completion_stream(request(stream=True))]
    assert all("usage" not in chunk.to_json() for chunk in plain)


async def test_a_stream_without_usage_cannot_be_collected() -> None:
    async def chunks() -> Any:
        for chunk in (await streamed(ScriptedEngine(["ab"])))[:-1]:
            yield chunk

    with pytest.raises(ValueError, match="usage"):
        await collect_completion(chunks())


ANSWERS = ["", "Hello.", "néé 😀 done", "stop here now", "a<|im_end|>b", "x" * 40]
MIXES = list(
    itertools.product(
        ["Say", ["a", "b😀"], [72, 105], [[72], [105, 128512]]],
        [1, 3],
        [{}, {"echo": True}, {"logprobs": 2}, {"echo": True, "logprobs": 0}, {"echo": True, "max_tokens": 0}],
        [{}, {"stop": ["here", "né"]}, {"ignore_eos": True, "max_tokens": 50}],
    )
)


@pytest.mark.parametrize("seed", range(4))
async def test_streams_add_up_to_whole_answers(seed: int) -> None:
    for number, (prompt, n, asked, ending) in enumerate(MIXES):
        draw = random.Random(f"{seed} {number}")
        fields = {**ending, **asked, "prompt": prompt, "n": n}
        count = n * (2 if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1)
        answers = [draw.choice(ANSWERS) for _ in range(count)]
        right = said(await whole(ScriptedEngine(answers), **fields))
        sizes = [draw.randrange(1, 5) for _ in range(7)]
        chunks = await streamed(ScriptedEngine(answers, chunk_size=sizes), **fields)
        assert [chunk.model for chunk in chunks] == [right["model"]] * len(chunks)
        found: list[dict[str, Any]] = [{"text": "", "logprobs": [], "ends": []} for _ in range(count)]
        for choice in (choice for chunk in chunks for choice in chunk.choices):
            found[choice.index]["text"] += choice.text
            found[choice.index]["ends"] += [choice.finish_reason] if choice.finish_reason else []
            if choice.logprobs is not None:
                its = choice.logprobs
                found[choice.index]["logprobs"] += zip(
                    its.tokens, its.token_logprobs, its.top_logprobs, its.text_offset, strict=True
                )
        for each, choice in zip(found, right["choices"], strict=True):
            assert (each["text"], each["ends"]) == (choice["text"], [choice["finish_reason"]])
            its = choice["logprobs"] or {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
            assert [list(part) for part in zip(*each["logprobs"], strict=True)] or [[]] * 4 == list(its.values())
            for token, offset in zip(its["tokens"], its["text_offset"], strict=True):
                if not ending.get("stop") and not token.startswith("<|"):
                    assert choice["text"][offset : offset + len(token)] == token
        assert chunks[-1].usage is not None and chunks[-1].usage.model_dump() == right["usage"]


@pytest.mark.parametrize(
    ("text", "tokens", "offsets"),
    [
        ("Hello you", ["Hello", " you"], [0, 5]),
        ("Hello you", ["<s>", " Hello", " you"], [0, 0, 5]),
        ("😀 x", [b"\xf0\x9f", b"\x98\x80", b" x"], [0, 0, 1]),
        ("é", [b"\xc3", b"\xa9"], [0, 0]),
        ("a <|x|> b", ["a", " ", "<|x|>", " b"], [0, 1, 2, 7]),
        ("a b", ["a", "<hidden>", " b"], [0, 1, 1]),
        ("a  b", ["a", "b"], [0, 3]),
    ],
)
def test_tokens_of_a_prompt_are_found_in_its_text(text: str, tokens: list[Any], offsets: list[int]) -> None:
    found = [each if isinstance(each, bytes) else each.encode() for each in tokens]
    assert list(prompt_offsets(text, found)) == offsets
