from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from candle_vllm_core import GenerationError, ScriptedEngine

PATH = "/v1/completions"
ClientOf = Callable[..., Any]


def body(**fields: Any) -> dict[str, Any]:
    return {"prompt": "Say it:"} | fields


def events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_whole(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine(["Hello."])) as client:
        response = await client.post(PATH, json=body())
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    answer = response.json()
    assert (answer["object"], answer["model"]) == ("text_completion", "scripted")
    assert answer["choices"] == [{"index": 0, "text": "Hello.", "logprobs": None, "finish_reason": "stop"}]


async def test_the_stream_adds_up_to_the_whole(client_of: ClientOf) -> None:
    fields = body(prompt=["a", "b"], n=2, echo=True)
    async with client_of(ScriptedEngine(["Hello."] * 8, chunk_size=3)) as client:
        answer = (await client.post(PATH, json=fields)).json()
        response = await client.post(PATH, json=fields | {"stream": True, "stream_options": {"include_usage": True}})
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = events(response.text)
    texts = dict.fromkeys(range(4), "")
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        texts[choice["index"]] += choice["text"]
    assert [choice["text"] for choice in answer["choices"]] == list(texts.values()) == ["aHello."] * 2 + ["bHello."] * 2
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], answer["usage"])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "other"}, 404, "model_not_found", "model"),
        ({"suffix": "x"}, 400, "unsupported_field", "suffix"),
        ({"best_of": 2}, 400, "unsupported_field", "best_of"),
        ({"logprobs": 6}, 400, "invalid_value", "logprobs"),
        ({"prompt": "x" * 100}, 400, "context_length_exceeded", "prompt"),
        ({"prompt": [[1], [2**30]]}, 400, "invalid_value", "prompt"),
        ({"unheard_of": 1}, 400, "unsupported_field", "unheard_of"),
    ],
)
async def test_refusals(
    client_of: ClientOf, fields: dict[str, Any], status: int, code: str, param: str, stream: bool
) -> None:
    async with client_of(ScriptedEngine(["fine"] * 2, max_sequence_length=50)) as client:
        response = await client.post(PATH, json=body(**fields, stream=stream))
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (status, code, param)
        assert (await client.post(PATH, json=body())).status_code == 200


async def test_a_failed_answer_gets_500(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine([GenerationError("the device is gone")])) as client:
        assert (await client.post(PATH, json=body())).status_code == 500


@pytest.mark.parametrize("stream", [True, False])
async def test_more_than_may_wait_gets_503(client_of: ClientOf, stream: bool) -> None:
    async with client_of(ScriptedEngine(["a"] * 3), max_num_seqs=1, max_waiting=2) as client:
        response = await client.post(PATH, json=body(prompt=["a", "b"], n=2, stream=stream))
        assert (response.status_code, response.json()["error"]["type"]) == (503, "server_busy")
        assert (await client.post(PATH, json=body(n=3))).status_code == 200


async def test_defaults_of_the_command_line_reach_the_engine(client_of: ClientOf) -> None:
    engine = ScriptedEngine(["a"])
    async with client_of(engine, temperature=0.25, top_k=7) as client:
        await client.post(PATH, json=body())
    assert (engine.requests[0].params.temperature, engine.requests[0].params.top_k) == (0.25, 7)
