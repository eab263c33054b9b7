"""To be written."""

from __future__ import annotations

from .common import Family

FAMILIES: dict[str, Family] = {}
