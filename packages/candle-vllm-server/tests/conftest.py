from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from candle_vllm_core import ScriptedEngine
from candle_vllm_server import Settings
from candle_vllm_server.app import build
from candle_vllm_server.context import Context
from candle_vllm_server.manager import ModelManager
from candle_vllm_server.serving import Serving, bind

DEADLINE_S = 20.0
SCRIPT = Path(__file__).parent / "scripted_server.py"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*os.environ]:
        if name.startswith("CANDLE_VLLM_") or name in ("HF_TOKEN", "KEEP_ALIVE_INTERVAL"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def hello(*contents: str, **fields: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"messages": [{"role": "user", "content": content} for content in contents or ("hi",)], **fields}


class Gate:
    """A pause for `ScriptedEngine` that lets so many chunks pass and holds all others for good."""

    def __init__(self, free: int) -> None:
        self.free = free

    async def __call__(self) -> None:
        self.free -= 1
        if self.free < 0:
            await asyncio.Event().wait()


@pytest.fixture
def request_body() -> Callable[..., dict[str, Any]]:
    return hello


@pytest.fixture
def gate() -> Callable[[int], Gate]:
    return Gate


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits, for a bounded time, until something is so."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "it did not come true"
            threading.Event().wait(0.01)

    return wait


@pytest.fixture
def client_of() -> Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]:
    """A client of an app over a scripted engine, without a socket."""

    @asynccontextmanager
    async def make(engine: ScriptedEngine, **fields: Any) -> AsyncIterator[httpx.AsyncClient]:
        async def open_engine(config: object) -> ScriptedEngine:
            return engine

        settings = Settings(**fields)
        manager = ModelManager(settings, open_engine)
        app = build(Context(settings=settings, manager=manager))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:2000") as client,
        ):
            while manager.status != "ready":
                await asyncio.sleep(0)
            yield client

    return make


@contextmanager
def _live(engine: ScriptedEngine, **fields: Any) -> Iterator[SimpleNamespace]:
    async def open_engine(config: object) -> ScriptedEngine:
        return engine

    settings = Settings(port=0, **fields)
    listener = bind(settings.host, 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    context = Context(settings=settings, manager=ModelManager(settings, open_engine))
    serving = Serving(build(context), context)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield SimpleNamespace(url=url, context=context, serving=serving)
    serving.should_exit = True
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


@pytest.fixture
def live() -> Callable[..., Any]:
    """A server over a scripted engine, on a socket, in a thread."""
    return _live


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `scripted_server.py` with arguments; killed at the end if it still runs."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPT), *arguments]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(server)
        return server

    yield start
    for server in started:
        if server.poll() is None:
            server.kill()
        server.communicate()
