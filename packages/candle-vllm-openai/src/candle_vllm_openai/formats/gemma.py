"""Gemma: calls in Python between ```` ```tool_code ```` fences, later `call:name{key:value}` between marks."""

from __future__ import annotations

from collections.abc import Mapping

from ..scanner import CallArguments, CallEnd, CallStart, Malformed, Scanner, Steps
from .calls import Body, check, closed, marked
from .format import Format, Offered
from .literals import Literals
from .pythonic import python_calls

FENCE, FENCE_END = "```tool_code", "```"
FUNCTION, FUNCTION_END = "<start_function_call>", "<end_function_call>"
OPENING, CLOSING = "<|tool_call>", "<tool_call|>"
ESCAPE, QUOTE = "<escape>", '<|"|>'

VALUES = Literals(quotes=(QUOTE, ESCAPE, '"'), escaping=('"',), words=True)


def call(scan: Scanner, offered: Offered) -> Steps[None]:
    """`call:name{key:value, ...}`."""
    yield from scan.expect("call:")
    yield from scan.peek()
    name = yield from scan.word()
    check(name, offered)
    if not (yield from scan.accept("{")):
        raise Malformed("expected '{'")
    yield CallStart(name)
    yield CallArguments("{")
    yield from VALUES.mapping(scan)
    yield CallEnd()


BODIES: Mapping[str, Body] = {
    FENCE: closed(python_calls, FENCE_END),
    FUNCTION: closed(call, FUNCTION_END),
    OPENING: closed(call, CLOSING),
}

GEMMA = Format(
    name="gemma",
    grammar=marked(BODIES),
    marks=(OPENING, FUNCTION, FENCE),
    families=("gemma",),
    tokens=(FUNCTION, FUNCTION_END, ESCAPE, OPENING, CLOSING, QUOTE),
)
