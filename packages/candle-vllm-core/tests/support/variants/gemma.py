from __future__ import annotations

from .common import Variant

MODELS: dict[str, Variant] = {}
