"""Work that lives as long as its client and its server do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from .errors import ClientGone, ServerStopping

T = TypeVar("T")


async def while_connected(work: Coroutine[Any, Any, T], receive: Receive, stopping: asyncio.Event) -> T:
    """What `work` returns; it is cancelled, and has ended, when the client goes or the server stops first.

    Nobody else may read from `receive` meanwhile: the rest of a body would be lost.

    Raises:
        ClientGone: the client closed its connection.
        ServerStopping: `stopping` was set.
    """

    async def watched() -> T:
        task, gone = asyncio.create_task(work), asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise ClientGone
        finally:
            await end(task, gone)

    return await while_running(watched(), stopping)


async def while_running(work: Coroutine[Any, Any, T], stopping: asyncio.Event) -> T:
    """What `work` returns; it is cancelled, and has ended, when the server stops first.

    Raises:
        ServerStopping: `stopping` was set.
    """
    task, stop = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ServerStopping
    finally:
        await end(task, stop)


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
