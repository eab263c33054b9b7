from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from candle_vllm_core import ScriptedEngine

ClientOf = Callable[..., Any]


async def test_list(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine(model_id="org/scripted", max_sequence_length=512)) as client:
        listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    (entry,) = listed["data"]
    assert entry.pop("created") > 0
    assert entry == {
        "id": "org/scripted",
        "object": "model",
        "owned_by": "candle-vllm",
        "status": "ready",
        "max_model_len": 512,
    }


@pytest.mark.parametrize("name", ["default", "org/scripted", "org%2Fscripted", "scripted"])
async def test_one(client_of: ClientOf, name: str) -> None:
    async with client_of(ScriptedEngine(model_id="org/scripted")) as client:
        response = await client.get(f"/v1/models/{name}")
    assert (response.status_code, response.json()["id"]) == (200, "org/scripted")


async def test_another(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine()) as client:
        response = await client.get("/v1/models/other")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


async def test_the_name_given_with_a_weights_dir(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine(["hi"]), model="org/given", weights_dir="/weights") as client:
        assert (await client.get("/v1/models")).json()["data"][0]["id"] == "org/given"
        body = {"model": "org/given", "messages": [{"role": "user", "content": "x"}]}
        assert (await client.post("/v1/chat/completions", json=body)).json()["model"] == "org/given"
