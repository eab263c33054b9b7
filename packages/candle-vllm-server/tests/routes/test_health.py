from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import httpx
import pytest

from candle_vllm_core import ModelLoadError, ScriptedEngine
from candle_vllm_server import Settings
from candle_vllm_server.app import build
from candle_vllm_server.context import Context
from candle_vllm_server.manager import ModelManager

ClientOf = Callable[..., Any]


async def test_when_ready(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine()) as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/ready")).json() == {"status": "ready", "model": "scripted"}
        assert (await client.get("/version")).json() == {"version": version("candle-vllm-server")}


@pytest.mark.parametrize(
    ("fails", "status", "code"), [(False, "loading", "server_busy"), (True, "error", "model_load_failed")]
)
async def test_while_the_model_is_not_there(fails: bool, status: str, code: str) -> None:
    async def open_engine(config: object) -> ScriptedEngine:
        if fails:
            raise ModelLoadError("no weights")
        await asyncio.Event().wait()
        raise AssertionError

    settings = Settings(model="org/asked")
    manager = ModelManager(settings, open_engine)
    app = build(Context(settings=settings, manager=manager))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
    ):
        while manager.status != status:
            await asyncio.sleep(0)
        assert (await client.get("/health")).status_code == 200
        body = {"messages": [{"role": "user", "content": "x"}]}
        for response in (await client.get("/ready"), await client.post("/v1/chat/completions", json=body)):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == code
            assert response.headers["retry-after"]
        entry = (await client.get("/v1/models")).json()["data"][0]
        assert (entry["status"], entry["max_model_len"]) == (status, None)


async def test_while_it_stops() -> None:
    async def open_engine(config: object) -> ScriptedEngine:
        return ScriptedEngine(["never"])

    settings = Settings()
    context = Context(settings=settings, manager=ModelManager(settings, open_engine))
    app = build(context)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
    ):
        while context.manager.status != "ready":
            await asyncio.sleep(0)
        context.stopping.set()
        body = {"messages": [{"role": "user", "content": "x"}]}
        for response in (await client.get("/ready"), await client.post("/v1/chat/completions", json=body)):
            assert (response.status_code, response.json()["error"]["code"]) == (503, "server_shutdown")
