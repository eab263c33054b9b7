from __future__ import annotations

from typing import Any

import pytest

from candle_vllm_openai import (
    ApiError,
    DetokenizeRequest,
    OpenAIAdapter,
    ScriptedEngine,
    TokenizeResponse,
    parse_body,
    parse_request,
    parse_tokenize_request,
)

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}


async def tokenized(engine: ScriptedEngine | None = None, **fields: Any) -> TokenizeResponse:
    return await OpenAIAdapter(engine or ScriptedEngine()).tokenize(parse_tokenize_request(fields))


async def test_a_text_is_given_as_ids() -> None:
    response = await tokenized(prompt="ab<|im_end|>", return_token_strs=True)
    assert response.tokens == [97, 98, 0x110001]
    assert (response.count, response.max_model_len, response.token_strs) == (3, 100_000, ["a", "b", "<|im_end|>"])
    assert '"token_strs":null' in (await tokenized(prompt="")).to_json()


async def test_a_conversation_is_given_as_the_prompt_that_its_answer_begins_from() -> None:
    engine = ScriptedEngine(["fine"])
    adapter = OpenAIAdapter(engine)
    response = await tokenized(engine, **HELLO, temperature=0.5, return_token_strs=True)
    await adapter.chat_completion(parse_request(HELLO))
    assert response.tokens == engine.requests[0].prompt
    assert response.token_strs is not None and "".join(response.token_strs).startswith("<|im_start|>user\nHello")


async def test_ids_are_given_as_the_text_that_they_came_from() -> None:
    text = "née<|im_end|>" * 3000
    ids = (await tokenized(prompt=text)).tokens
    back = await OpenAIAdapter(ScriptedEngine()).detokenize(parse_body({"tokens": ids}, DetokenizeRequest))
    assert back.prompt == text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": "x", "temperature": 0}, "temperature"),
        (HELLO | {"add_generation_prompt": False}, "add_generation_prompt"),
        (HELLO | {"continue_final_message": True}, "continue_final_message"),
        (HELLO | {"unheard_of": 1}, "unheard_of"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_tokenize_request(fields)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("body", [b"[]", b"{", "5"])
def test_a_body_that_is_no_object_is_refused(body: bytes | str) -> None:
    with pytest.raises(ApiError):
        parse_tokenize_request(body)


async def test_an_id_that_is_not_in_the_vocabulary_is_refused_by_name() -> None:
    request = parse_body({"tokens": [1, 2**30]}, DetokenizeRequest)
    with pytest.raises(ApiError) as caught:
        await OpenAIAdapter(ScriptedEngine()).detokenize(request)
    assert (caught.value.status, caught.value.param) == (400, "tokens")
