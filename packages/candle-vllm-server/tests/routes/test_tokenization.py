from __future__ import annotations

from collections.abc import Callable
from typing import Any

from candle_vllm_core import ScriptedEngine

ClientOf = Callable[..., Any]


async def test_text_becomes_ids_and_ids_become_text(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine(max_sequence_length=50)) as client:
        found = (await client.post("/tokenize", json={"model": "default", "prompt": "ab"})).json()
        back = (await client.post("/detokenize", json={"model": "default", "tokens": found["tokens"]})).json()
    assert found == {"count": 2, "max_model_len": 50, "tokens": [97, 98], "token_strs": None}
    assert back == {"prompt": "ab"}


async def test_a_conversation_becomes_the_ids_of_its_prompt(client_of: ClientOf) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    async with client_of(engine := ScriptedEngine(["fine"])) as client:
        found = (await client.post("/tokenize", json={"messages": messages})).json()
        await client.post("/v1/chat/completions", json={"messages": messages})
    assert found["tokens"] == engine.requests[0].prompt


async def test_refusals(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine()) as client:
        for path, body, status, param in (
            ("/tokenize", {"prompt": "x", "model": "other"}, 404, "model"),
            ("/tokenize", {"prompt": 5}, 400, "prompt"),
            ("/detokenize", {"tokens": [2**30]}, 400, "tokens"),
            ("/detokenize", {"tokens": [1], "prompt": "x"}, 400, "prompt"),
        ):
            response = await client.post(path, json=body)
            assert response.status_code == status
            assert response.json()["error"]["param"] == param
