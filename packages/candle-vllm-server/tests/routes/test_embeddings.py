from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from candle_vllm_core import ScriptedEngine

PATH = "/v1/embeddings"
ClientOf = Callable[..., Any]


async def test_texts_are_embedded_in_their_order(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine()) as client:
        response = await client.post(PATH, json={"input": ["a", "b"], "dimensions": 3})
    assert response.status_code == 200
    answer = response.json()
    assert [(data["index"], data["embedding"]) for data in answer["data"]] == [(0, [0, 1, 0]), (1, [0, 0, 1])]
    assert (answer["object"], answer["model"]) == ("list", "scripted")
    assert answer["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


async def test_many_inputs_are_taken_however_few_may_wait(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine(), max_num_seqs=1, max_waiting=0) as client:
        response = await client.post(PATH, json={"input": ["a"] * 100, "encoding_format": "base64"})
    assert len(response.json()["data"]) == 100


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "other"}, 404, "model_not_found", "model"),
        ({"dimensions": 17}, 400, "invalid_value", "dimensions"),
        ({"input": "x" * 51}, 400, "context_length_exceeded", "input"),
        ({"input": []}, 400, "invalid_value", "input"),
        ({"encoding_format": "int8"}, 400, "invalid_value", "encoding_format"),
        ({"unheard_of": 1}, 400, "unsupported_field", "unheard_of"),
    ],
)
async def test_refusals(client_of: ClientOf, fields: dict[str, Any], status: int, code: str, param: str) -> None:
    async with client_of(ScriptedEngine(max_sequence_length=50)) as client:
        response = await client.post(PATH, json={"input": "a"} | fields)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (status, code, param)
        assert (await client.post(PATH, json={"input": "a" * 50})).status_code == 200
