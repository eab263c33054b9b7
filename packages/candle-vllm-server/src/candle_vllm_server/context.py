"""What all routes of one server share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from .manager import ModelManager
from .settings import Settings


@dataclass(frozen=True, kw_only=True)
class Context:
    """One server's settings, its model, and whether it is being stopped."""

    settings: Settings
    manager: ModelManager
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server is told to stop: running answers end, new ones are refused."""
