"""Calls as `<invoke name="...">` elements with `<parameter name="...">` in them (MiniMax M2, DeepSeek V3.2)."""

from __future__ import annotations

import re

from ..scanner import CallEnd, CallStart, Malformed, Scanner, Steps
from .arguments import Value, arguments
from .calls import MAX_NAME_CHARS, Body, check
from .elements import Members
from .enforced import Called, Calls, text
from .format import Offered

_TEXT = frozenset({"string"})
_VALUE = frozenset({"boolean", "integer", "number", "array", "object", "null"})
QUOTE, NAME, NAMES = text('"'), text(' name="'), '[^"]+'
STRING = ' string="{}">'
_KINDS = {None: None, "true": _TEXT, "false": _VALUE}
_STRING = re.compile(r'\s*(?:string\s*=\s*"(true|false)"\s*)?')


def invokes(namespace: str = "") -> Body:
    """One call or several; `namespace` stands before each element's name."""
    invoke, invoke_end = f'<{namespace}invoke name="', f"</{namespace}invoke>"
    parameter, parameter_end = f'<{namespace}parameter name="', f"</{namespace}parameter>"

    def one(scan: Scanner, offered: Offered) -> Steps[None]:
        name = yield from scan.text('"', limit=MAX_NAME_CHARS)
        check(name, offered)
        yield from scan.expect(">")
        yield CallStart(name)
        members = Members(name, offered)
        while (yield from scan.expect(parameter, invoke_end)) == parameter:
            key = yield from scan.text('"', limit=MAX_NAME_CHARS)
            says = _STRING.fullmatch((yield from scan.text(">", limit=MAX_NAME_CHARS)))
            if says is None:
                raise Malformed("expected '>'")
            yield from members.member(scan, key, parameter_end, kinds=_KINDS[says[1]])
        yield members.end()
        yield CallEnd()

    def body(scan: Scanner, offered: Offered) -> Steps[None]:
        num_calls = 0
        while (yield from scan.accept(invoke)):
            yield from one(scan, offered)
            num_calls += 1
        if not num_calls:
            raise Malformed(f"expected {invoke!r}")

    return body


def enforced_invoke(calls: Calls, namespace: str = "", *, says_kind: bool = False) -> str:
    """The expression for one call; with `says_kind` each parameter says whether it is a string."""
    invoke, parameter = calls.mark(f"<{namespace}invoke"), calls.mark(f"<{namespace}parameter")
    invoke_end, parameter_end = f"</{namespace}invoke>", f"</{namespace}parameter>"

    def element(name: str, value: Value) -> str:
        head = f"{parameter} {NAME} {name} {QUOTE}"
        if not says_kind:
            return f'{head} ">" {value.upto(parameter_end)} "\\n"'
        if value.is_text:
            return f'{head} {text(STRING.format("true"))} {value.upto(parameter_end)} "\\n"'
        return f'{head} {text(STRING.format("false"))} {value.json()} {calls.mark(parameter_end)} "\\n"'

    def call(tool: Called) -> str:
        elements = arguments(tool, calls.rules, element, names=NAMES)
        return f'{invoke} {NAME} {text(tool.name)} {QUOTE} ">\\n" {elements} {calls.mark(invoke_end)}'

    return calls.each(call)
