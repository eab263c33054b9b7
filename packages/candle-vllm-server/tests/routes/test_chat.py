from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from candle_vllm_core import GenerationError, ScriptedEngine

PATH = "/v1/chat/completions"
ClientOf = Callable[..., Any]
Body = Callable[..., dict[str, Any]]


def events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_whole(client_of: ClientOf, request_body: Body) -> None:
    async with client_of(ScriptedEngine(["Hello."])) as client:
        response = await client.post(PATH, json=request_body("hi"))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["choices"][0]["message"]["content"] == "Hello."
    assert (answer["model"], answer["object"]) == ("scripted", "chat.completion")


async def test_stream_adds_up_to_the_whole(client_of: ClientOf, request_body: Body) -> None:
    async with client_of(ScriptedEngine(["Hello."])) as client:
        response = await client.post(PATH, json=request_body("hi", stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = events(response.text)
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "Hello."
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"][0]["finish_reason"]] == [
        "stop"
    ]


@pytest.mark.parametrize("model", ["default", "org/scripted", "scripted"])
async def test_names_of_the_model(client_of: ClientOf, request_body: Body, model: str) -> None:
    async with client_of(ScriptedEngine(["Hello."], model_id="org/scripted")) as client:
        assert (await client.post(PATH, json=request_body(model=model))).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["gpt-4", "org", "", "other/scripted"])
async def test_other_names_are_not_found(client_of: ClientOf, request_body: Body, model: str, stream: bool) -> None:
    async with client_of(ScriptedEngine(["Hello."], model_id="org/scripted")) as client:
        response = await client.post(PATH, json=request_body(model=model, stream=stream))
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    assert response.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"messages": []}', b'{"messages": [{"role": "wizard", "content": "x"}]}'],
)
async def test_broken_bodies_get_400(client_of: ClientOf, request_body: Body, content: bytes) -> None:
    async with client_of(ScriptedEngine(["fine"])) as client:
        response = await client.post(PATH, content=content, headers={"content-type": "application/json"})
        assert response.status_code == 400
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
        assert (await client.post(PATH, json=request_body())).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_a_prompt_that_is_too_long_gets_400_streamed_or_not(
    client_of: ClientOf, request_body: Body, stream: bool
) -> None:
    async with client_of(ScriptedEngine(["Hello."], max_sequence_length=20)) as client:
        response = await client.post(PATH, json=request_body("hi " * 100, stream=stream))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("stream", [True, False])
async def test_an_unforeseen_error_gets_500_without_its_inside(
    client_of: ClientOf, request_body: Body, stream: bool
) -> None:
    async with client_of(ScriptedEngine([ZeroDivisionError("secret"), "fine"])) as client:
        response = await client.post(PATH, json=request_body(stream=stream))
        assert response.status_code == 500
        assert "secret" not in response.text
        assert response.json()["error"]["type"] == "server_error"
        assert response.headers["x-request-id"]
        assert (await client.post(PATH, json=request_body())).status_code == 200


async def test_a_failed_answer_gets_500(client_of: ClientOf, request_body: Body) -> None:
    async with client_of(ScriptedEngine([GenerationError("the device is gone")])) as client:
        response = await client.post(PATH, json=request_body())
    assert response.status_code == 500


@pytest.mark.parametrize("stream", [True, False])
async def test_more_than_may_wait_gets_503_and_a_time_to_come_back(
    client_of: ClientOf, request_body: Body, stream: bool
) -> None:
    async with client_of(ScriptedEngine(["a"] * 4), max_num_seqs=1, max_waiting=2) as client:
        response = await client.post(PATH, json=request_body(n=4, stream=stream))
        assert response.status_code == 503
        assert response.json()["error"]["type"] == "server_busy"
        assert int(response.headers["retry-after"]) > 0
        assert (await client.post(PATH, json=request_body(n=3))).status_code == 200
        assert (await client.post(PATH, json=request_body())).status_code == 200


async def test_defaults_of_the_command_line_reach_the_engine(client_of: ClientOf, request_body: Body) -> None:
    engine = ScriptedEngine(["a", "b"])
    async with client_of(engine, temperature=0.25, top_k=7) as client:
        await client.post(PATH, json=request_body())
        await client.post(PATH, json=request_body(temperature=0.5))
    assert [(request.params.temperature, request.params.top_k) for request in engine.requests] == [(0.25, 7), (0.5, 7)]


async def test_other_methods_get_405(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine()) as client:
        response = await client.get(PATH)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"]["code"] == "method_not_allowed"


async def test_other_routes_get_404(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine()) as client:
        for path in ("/", "/docs", "/redoc", "/openapi.json", "/v1/chat", "/v1/images", "/health/", f"{PATH}/"):
            response = await client.get(path)
            assert response.status_code == 404
            assert response.json()["error"]["type"] == "not_found_error"
