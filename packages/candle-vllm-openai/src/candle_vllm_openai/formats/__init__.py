"""The ways in which chat models write calls of tools: one small file each, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping

from .format import Format, Offered, Schema
from .mistral import MISTRAL
from .plain import PASSTHROUGH
from .qwen import QWEN

FORMATS: Mapping[str, Format] = {format.name: format for format in (PASSTHROUGH, MISTRAL, QWEN)}
"""By name; of two whose marks stand in one template, the first wins."""

__all__ = ["FORMATS", "Format", "Offered", "Schema"]
