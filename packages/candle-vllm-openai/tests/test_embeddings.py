"""Embeddings over the scripted engine, whose hidden states are known."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from candle_vllm_openai import (
    AdapterConfig,
    ApiError,
    EmbeddingRequest,
    EmbeddingResponse,
    OpenAIAdapter,
    ScriptedEngine,
    parse_body,
)


def request(**fields: Any) -> EmbeddingRequest:
    return parse_body({"input": "ab"} | fields, EmbeddingRequest)


async def embedded(engine: ScriptedEngine | None = None, **fields: Any) -> EmbeddingResponse:
    return await OpenAIAdapter(engine or ScriptedEngine(model_id="org/scripted")).embeddings(request(**fields))


async def test_a_text_is_embedded_in_openais_shape() -> None:
    response = await embedded()
    vector = [0.0] * 16
    vector[1] = vector[2] = pytest.approx(0.5**0.5)
    assert response.model_dump() == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        "model": "org/scripted",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }


@pytest.mark.parametrize(
    ("input", "prompts"),
    [
        ("ab", [[97, 98]]),
        (["ab", "c"], [[97, 98], [99]]),
        ([5, 6], [[5, 6]]),
        ([[5], [6, 7]], [[5], [6, 7]]),
        ("<|im_end|>" * 2, [[0x110001] * 2]),
    ],
)
async def test_an_input_is_text_or_ids_one_or_many(input: object, prompts: list[list[int]]) -> None:
    engine = ScriptedEngine()
    response = await embedded(engine, input=input)
    assert [tokens for tokens, _ in engine.embedded] == prompts
    assert [data.index for data in response.data] == list(range(len(prompts)))
    assert response.usage.prompt_tokens == response.usage.total_tokens == sum(map(len, prompts))


async def test_base64_holds_the_same_float32() -> None:
    plain, packed = await embedded(), await embedded(encoding_format="base64")
    text = packed.data[0].embedding
    assert isinstance(text, str)
    assert list(struct.unpack("<16f", base64.b64decode(text))) == plain.data[0].embedding


async def test_what_the_request_says_reaches_the_engine() -> None:
    engine = ScriptedEngine()
    response = await embedded(engine, pooling="last", dimensions=3, priority=-2, cache_salt="mine")
    params = engine.embedded[0][1]
    assert (params.pooling, params.dimensions, params.priority, params.cache_salt) == ("last", 3, -2, "mine")
    assert response.data[0].embedding == [0.0, 0.0, 1.0]
    assert (await embedded(pooling="cls", dimensions=2)).data[0].embedding == [0.0, 1.0]


async def test_the_adapters_name_stands_in_the_response() -> None:
    adapter = OpenAIAdapter.with_config(ScriptedEngine(), AdapterConfig(model_name="mine"))
    assert (await adapter.embeddings(request(user="me"))).model == "mine"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": None}, "input", "invalid_value"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": [[1], []]}, "input[1]", "invalid_value"),
        ({"input": [1.5]}, "input[0]", "invalid_value"),
        ({"input": ["x"] * 2049}, "input", "invalid_value"),
        ({"dimensions": 0}, "dimensions", "invalid_value"),
        ({"encoding_format": "int8"}, "encoding_format", "invalid_value"),
        ({"pooling": "max"}, "pooling", "invalid_value"),
        ({"truncate_prompt_tokens": 5}, "truncate_prompt_tokens", "unsupported_field"),
        ({"unheard_of": 5}, "unheard_of", "unsupported_field"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        request(**fields)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"dimensions": 17}, "dimensions", "invalid_value"),
        ({"input": "x" * 51}, "input", "context_length_exceeded"),
        ({"input": ["x", ""]}, "input", "invalid_value"),
        ({"input": [0x110000 + 2]}, "input", "invalid_value"),
    ],
)
async def test_what_the_model_does_not_take_is_refused_by_name(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        await embedded(ScriptedEngine(max_sequence_length=50), **fields)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


async def test_many_long_inputs_are_embedded_as_short_ones_are() -> None:
    long = await embedded(input=["ab" * 5000, "ab"])
    assert long.data[0].embedding == pytest.approx(long.data[1].embedding)
