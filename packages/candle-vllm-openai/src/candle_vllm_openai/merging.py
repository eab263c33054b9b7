"""Several of the engine's streams as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from candle_vllm_core import GenerationChunk


async def merged(
    streams: Sequence[AsyncGenerator[GenerationChunk, None]],
) -> AsyncGenerator[tuple[int, GenerationChunk], None]:
    """What the streams give, with the place of each, as it comes; closing this closes all of them."""
    if len(streams) == 1:
        async with aclosing(streams[0]) as only:
            async for piece in only:
                yield 0, piece
        return
    arrivals: asyncio.Queue[tuple[int, GenerationChunk | BaseException | None]] = asyncio.Queue()
    tasks = [asyncio.create_task(_forward(place, stream, arrivals)) for place, stream in enumerate(streams)]
    num_open = len(tasks)
    try:
        while num_open:
            place, arrival = await arrivals.get()
            if isinstance(arrival, BaseException):
                raise arrival
            if arrival is None:
                num_open -= 1
            else:
                yield place, arrival
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(
    place: int,
    stream: AsyncGenerator[GenerationChunk, None],
    arrivals: asyncio.Queue[tuple[int, GenerationChunk | BaseException | None]],
) -> None:
    try:
        async with aclosing(stream):
            async for piece in stream:
                arrivals.put_nowait((place, piece))
        arrivals.put_nowait((place, None))
    except Exception as error:
        arrivals.put_nowait((place, error))
