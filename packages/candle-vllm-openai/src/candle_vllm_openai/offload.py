"""Work that would hold up the event loop, done beside it where it is long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

INLINE_CHARS = 8192
"""More characters, or token ids, than this are rendered and converted off the event loop."""

Result = TypeVar("Result")


async def converted(size: int, work: Callable[[], Result]) -> Result:
    """What converting so many characters or token ids gives; long work is done off the event loop."""
    return work() if size <= INLINE_CHARS else await asyncio.to_thread(work)
