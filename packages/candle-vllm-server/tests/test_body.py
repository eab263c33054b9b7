from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

import pytest
from starlette.requests import Request

from candle_vllm_core import ScriptedEngine
from candle_vllm_server import body
from candle_vllm_server.body import MAX_BODY, read_json
from candle_vllm_server.errors import ClientGone, HttpError

PATH = "/v1/chat/completions"
ClientOf = Callable[..., Any]


def request_of(receive: Any, **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


class Flood:
    """Sends a body without end, and counts what was taken of it."""

    def __init__(self, piece: bytes = b" " * 65536) -> None:
        self.piece, self.taken = piece, 0

    async def __call__(self) -> MutableMapping[str, Any]:
        self.taken += len(self.piece)
        return {"type": "http.request", "body": self.piece, "more_body": True}


async def test_a_body_without_length_is_refused_while_it_comes() -> None:
    flood = Flood()
    with pytest.raises(HttpError) as caught:
        await read_json(request_of(flood, content_type="application/json"))
    assert caught.value.status == 413
    assert flood.taken <= MAX_BODY + 2 * len(flood.piece)


async def test_a_body_that_says_it_is_too_long_is_refused_unread() -> None:
    flood = Flood()
    with pytest.raises(HttpError) as caught:
        await read_json(request_of(flood, content_type="application/json", content_length=str(MAX_BODY + 1)))
    assert (caught.value.status, flood.taken) == (413, 0)


async def test_a_client_that_goes_while_it_sends() -> None:
    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await read_json(request_of(receive))


async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "READ_TIMEOUT_S", 0.001)

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(HttpError) as caught:
        await read_json(request_of(receive))
    assert caught.value.status == 408


async def test_fifty_megabytes_get_413_and_the_server_goes_on(client_of: ClientOf) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b" " * 1_000_000

    async with client_of(ScriptedEngine(["fine"])) as client:
        for content in (b" " * 50_000_000, pieces()):
            response = await client.post(PATH, content=content, headers={"content-type": "application/json"})
            assert response.status_code == 413
            assert response.json()["error"]["code"] == "request_too_large"
        assert (await client.post(PATH, json={"messages": [{"role": "user", "content": "hi"}]})).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "json"])
async def test_other_content_types_get_415(client_of: ClientOf, kind: str) -> None:
    async with client_of(ScriptedEngine()) as client:
        response = await client.post(PATH, content=b"{}", headers={"content-type": kind})
    assert response.status_code == 415
    assert kind in response.json()["error"]["message"]


@pytest.mark.parametrize("kind", [None, "application/json", "Application/JSON; charset=utf-8", "application/x+json"])
async def test_content_types_that_are_taken(client_of: ClientOf, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    async with client_of(ScriptedEngine(["fine"])) as client:
        content = b'{"messages": [{"role": "user", "content": "hi"}]}'
        assert (await client.post(PATH, content=content, headers=headers)).status_code == 200


async def test_a_page_elsewhere_cannot_leave_the_type_out(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine()) as client:
        response = await client.post(PATH, content=b"{}", headers={"origin": "https://evil.example"})
    assert response.status_code == 415


async def test_a_packed_body_gets_415(client_of: ClientOf) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    async with client_of(ScriptedEngine()) as client:
        assert (await client.post(PATH, content=b"x", headers=headers)).status_code == 415
