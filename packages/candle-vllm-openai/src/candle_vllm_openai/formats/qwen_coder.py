"""Qwen 3 Coder, Qwen 3.5: `<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`."""

from __future__ import annotations

from collections.abc import Sequence

from ..scanner import CallEnd, CallStart, Scanner, Steps
from .arguments import Value, arguments
from .calls import MAX_NAME_CHARS, begin, check, closed, marked
from .elements import Members
from .enforced import Called, Calls, Opening, text
from .format import Format, Offered

OPENING, CLOSING = "<tool_call>", "</tool_call>"
FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"


def body(scan: Scanner, offered: Offered) -> Steps[None]:
    """Behind `<tool_call>`."""
    yield from scan.expect(FUNCTION)
    yield from function(scan, offered)


def function(scan: Scanner, offered: Offered) -> Steps[None]:
    """Behind `<function=`: a call whose arguments are elements, or a JSON object."""
    name = yield from scan.text(">", limit=MAX_NAME_CHARS)
    check(name, offered)
    if (yield from scan.peek()) == "{":
        yield from begin(scan, name, offered, stop=FUNCTION_END)
    else:
        yield from _elements(scan, name, offered)
    yield from scan.closing(FUNCTION_END)


def _elements(scan: Scanner, name: str, offered: Offered) -> Steps[None]:
    yield CallStart(name)
    members = Members(name, offered)
    while (yield from scan.expect(PARAMETER, FUNCTION_END, CLOSING)) == PARAMETER:
        key = yield from scan.text(">", limit=MAX_NAME_CHARS)
        yield from members.member(scan, key, PARAMETER_END, lines=True)
    yield members.end()
    yield CallEnd()


def enforced(calls: Calls) -> Sequence[Opening]:
    """Each tag on a line of its own."""

    def parameter(name: str, value: Value) -> str:
        end = f"\n{PARAMETER_END}"
        return f'{text(PARAMETER)} {name} ">\\n" {value.upto(end)} "\\n"'

    def call(tool: Called) -> str:
        return f'{text(tool.name)} ">\\n" {arguments(tool, calls.rules, parameter, names="[^>]+")} {text(FUNCTION_END)}'

    one = calls.rules.add(calls.each(call))
    rest = f'"\\n" {text(FUNCTION)} {one} "\\n" {calls.mark(CLOSING)}'
    return (Opening(mark=OPENING, rest=rest, between='"\\n"'), Opening(mark=FUNCTION, rest=one))


QWEN_CODER = Format(
    name="qwen_coder",
    grammar=marked({OPENING: closed(body, CLOSING), FUNCTION: closed(function, CLOSING)}),
    marks=(PARAMETER,),
    families=("qwen35",),
    tokens=(OPENING, CLOSING),
    enforced=enforced,
)
