"""Gemma: calls in Python between ```` ```tool_code ```` fences, later `call:name{key:value}` between marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..scanner import CallArguments, CallEnd, CallStart, Malformed, Scanner, Steps
from .arguments import Value, arguments
from .calls import Body, check, closed, marked
from .enforced import Called, Calls, Opening, text
from .format import Format, Offered
from .literals import Literals
from .pythonic import enforced_call, python_calls

FENCE, FENCE_END = "```tool_code", "```"
FUNCTION, FUNCTION_END = "<start_function_call>", "<end_function_call>"
OPENING, CLOSING = "<|tool_call>", "<tool_call|>"
ESCAPE, QUOTE = "<escape>", '<|"|>'
NAMES = r"[^:,{}]+"

VALUES = Literals(quotes=(QUOTE, ESCAPE, '"'), escaping=('"',), words=True)


def call(scan: Scanner, offered: Offered) -> Steps[None]:
    """`call:name{key:value, ...}`."""
    yield from scan.expect("call:")
    yield from scan.peek()
    name = yield from scan.name()
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


def enforced(calls: Calls) -> Sequence[Opening]:
    """In the way whose mark the template has; else in Python."""
    taught = next((mark for mark in (OPENING, FUNCTION) if mark in calls.template), FENCE)
    python = calls.several(enforced_call(calls.taught(taught == FENCE)), text("\n"))
    openings = (
        _marked(calls.taught(taught == OPENING), OPENING, CLOSING, QUOTE),
        _marked(calls.taught(taught == FUNCTION), FUNCTION, FUNCTION_END, ESCAPE),
        Opening(mark=FENCE, rest=f'"\\n" {python} "\\n" {text(FENCE_END)}'),
    )
    return sorted(openings, key=lambda opening: opening.mark != taught)


def _marked(calls: Calls, opening: str, closing: str, quote: str) -> Opening:
    def member(name: str, value: Value) -> str:
        return f'{name} ":" {value.quoted(quote)}'

    def call(tool: Called) -> str:
        members = arguments(tool, calls.rules, member, between=text(","), names=NAMES)
        return f'{text(f"call:{tool.name}")} "{{" {members} "}}"'

    return Opening(mark=opening, rest=f"{calls.each(call)} {calls.mark(closing)}", between="")


GEMMA = Format(
    name="gemma",
    grammar=marked(BODIES),
    marks=(OPENING, FUNCTION, FENCE),
    families=("gemma",),
    tokens=(FUNCTION, FUNCTION_END, ESCAPE, OPENING, CLOSING, QUOTE),
    enforced=enforced,
)
