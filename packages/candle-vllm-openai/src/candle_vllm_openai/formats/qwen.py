"""Qwen 2.5 and 3, Hermes, SmolLM 3, Granite 4: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`."""

from __future__ import annotations

from collections.abc import Sequence

from .calls import call_objects, closed, marked
from .enforced import Calls, Opening, text
from .format import Format

OPENING, CLOSING = "<tool_call>", "</tool_call>"

body = closed(call_objects(CLOSING), CLOSING)


def enforced(calls: Calls) -> Sequence[Opening]:
    """A call object on a line of its own."""
    rest = f"{text(chr(10))} {calls.objects()} {text(chr(10))} {calls.mark(CLOSING)}"
    return (Opening(mark=OPENING, rest=rest, between=text(chr(10))),)


QWEN = Format(
    name="qwen",
    grammar=marked({OPENING: body}),
    marks=(OPENING,),
    families=("qwen2", "qwen3", "smollm3", "granitemoehybrid"),
    tokens=(OPENING, CLOSING),
    enforced=enforced,
)
