"""Chunks as server-sent events: `data:` lines, comments while it is quiet, errors as the last event, `[DONE]`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .connection import end, while_connected
from .errors import ClientGone, ServerStopping, as_error, error_json

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"

logger = logging.getLogger(__name__)


class Chunk(Protocol):
    """What a stream is made of."""

    def to_json(self) -> str:
        """The chunk as one line of JSON."""
        ...


class EventStream(Response):
    """A response that writes chunks as they come, and closes their generator when the client goes.

    The headers wait for the first chunk, but no longer than `keep_alive_s`: an error before them is an ordinary error
    response, one after them an event.
    """

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncGenerator[Chunk, None], *, keep_alive_s: float, stopping: asyncio.Event) -> None:
        self._chunks, self._keep_alive_s, self._stopping = chunks, keep_alive_s, stopping
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the events."""
        out = _Events(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with aclosing(self._chunks):
            try:
                await while_connected(self._write(out), receive, self._stopping)
            except ClientGone:
                logger.info("the client went away; its answer was ended")
            except Exception as error:
                if not out.started:
                    raise
                await out.fail(error)

    async def _write(self, out: _Events) -> None:
        ticker = asyncio.create_task(out.keep_alive(self._keep_alive_s))
        try:
            async for chunk in self._chunks:
                await out.write(f"data: {chunk.to_json()}\n\n".encode())
        finally:
            await end(ticker)
        await out.finish()


class _Events:
    def __init__(self, send: Send, start: dict[str, object]) -> None:
        self._send, self._start = send, start
        self._writing = asyncio.Lock()
        self._written_at = asyncio.get_running_loop().time()
        self.started = False

    async def write(self, data: bytes, *, more: bool = True) -> None:
        async with self._writing:
            if not self.started:
                await self._send(self._start)
                self.started = True
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
            self._written_at = asyncio.get_running_loop().time()

    async def keep_alive(self, interval_s: float) -> None:
        """Write a comment whenever nothing else was written for an interval."""
        while True:
            quiet_s = asyncio.get_running_loop().time() - self._written_at
            await asyncio.sleep(interval_s - quiet_s)
            if asyncio.get_running_loop().time() - self._written_at >= interval_s:
                await self.write(KEEP_ALIVE)

    async def finish(self) -> None:
        await self.write(DONE, more=False)

    async def fail(self, error: Exception) -> None:
        known = as_error(error)
        if known.status >= 500 and not isinstance(error, ServerStopping):
            logger.error("an answer failed while it was streamed", exc_info=error)
        await self.write(f"data: {error_json(known)}\n\n".encode() + DONE, more=False)
