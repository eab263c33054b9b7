"""What all routes that ask the model do: take places, run as long as the client and the server are there, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol, TypeVar

from fastapi import Request
from starlette.responses import Response

from .body import read_json
from .connection import while_connected, while_running
from .context import Context
from .sse import Chunk, EventStream

INLINE_BYTES = 64 * 1024
"""Bodies longer than this are parsed off the event loop."""

Asked = TypeVar("Asked")


class Answer(Protocol):
    """What a route gives."""

    def to_json(self) -> str:
        """The answer as JSON."""
        ...


async def read(context: Context, request: Request, parse: Callable[[bytes], Asked]) -> Asked:
    """The body of a request, parsed.

    Raises:
        ApiError: it cannot be read, or is not what it should be.
    """
    body = await while_running(read_json(request), context.stopping)
    return parse(body) if len(body) <= INLINE_BYTES else await asyncio.to_thread(parse, body)


async def whole(
    context: Context,
    request: Request,
    work: Callable[[], Awaitable[Answer]],
    *,
    seats: int,
    large: bool = False,
) -> Response:
    """The answer that some work gives, once `seats` are free for it; a `large` one is written off the event loop."""

    async def seated() -> str:
        with context.manager.seats(seats):
            answer = await work()
            return await asyncio.to_thread(answer.to_json) if large else answer.to_json()

    body = await while_connected(seated(), request.receive, context.stopping)
    return Response(body, media_type="application/json")


def streamed(context: Context, work: Callable[[], AsyncGenerator[Chunk, None]], *, seats: int) -> EventStream:
    """The chunks that some work gives, as events, once `seats` are free for it."""

    async def seated() -> AsyncGenerator[Chunk, None]:
        with context.manager.seats(seats):
            async with aclosing(work()) as chunks:
                async for chunk in chunks:
                    yield chunk

    keep_alive_s = context.settings.keep_alive_interval / 1000
    return EventStream(seated(), keep_alive_s=keep_alive_s, stopping=context.stopping)
