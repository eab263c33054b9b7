from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from candle_vllm_server.connection import while_connected, while_running
from candle_vllm_server.errors import ClientGone, ServerStopping


class Work:
    """Work that never ends by itself, and knows how it ended."""

    cancelled = False

    async def __call__(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def forever() -> MutableMapping[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def test_the_result_comes_through() -> None:
    async def work() -> int:
        return 3

    assert await while_connected(work(), forever, asyncio.Event()) == 3


async def test_an_error_comes_through() -> None:
    async def work() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await while_connected(work(), forever, asyncio.Event())


async def test_a_client_that_goes_ends_the_work() -> None:
    messages = iter([{"type": "http.request"}, {"type": "http.disconnect"}])

    async def receive() -> MutableMapping[str, Any]:
        return next(messages)

    work = Work()
    with pytest.raises(ClientGone):
        await while_connected(work(), receive, asyncio.Event())
    assert work.cancelled


async def test_a_server_that_stops_ends_work_without_a_client() -> None:
    work, stopping = Work(), asyncio.Event()
    task = asyncio.create_task(while_running(work(), stopping))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stopping.set()
    with pytest.raises(ServerStopping):
        await task
    assert work.cancelled


async def test_a_server_that_stops_ends_the_work() -> None:
    work, stopping = Work(), asyncio.Event()
    task = asyncio.create_task(while_connected(work(), forever, stopping))
    for _ in range(5):
        await asyncio.sleep(0)
    stopping.set()
    with pytest.raises(ServerStopping):
        await task
    assert work.cancelled


async def test_a_caller_that_is_cancelled_ends_the_work() -> None:
    work = Work()
    task = asyncio.create_task(while_connected(work(), forever, asyncio.Event()))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.cancelled
    assert len(asyncio.all_tasks()) == 1
