"""Qwen 2.5 and 3, Hermes, SmolLM 3, Granite 4: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`."""

from __future__ import annotations

from .calls import call_objects, closed, marked
from .format import Format

OPENING, CLOSING = "<tool_call>", "</tool_call>"

body = closed(call_objects(CLOSING), CLOSING)

QWEN = Format(
    name="qwen",
    grammar=marked({OPENING: body}),
    marks=(OPENING,),
    families=("qwen2", "qwen3", "smollm3", "granitemoehybrid"),
    tokens=(OPENING, CLOSING),
)
