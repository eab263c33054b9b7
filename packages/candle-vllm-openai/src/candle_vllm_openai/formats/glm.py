"""GLM: `<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>`; GLM 4: a name and JSON."""

from __future__ import annotations

from collections.abc import Sequence

from ..scanner import CallEnd, CallStart, Malformed, Scanner, Steps
from .arguments import Value, arguments
from .calls import MAX_NAME_CHARS, begin, check, closed, marked
from .elements import Members
from .enforced import Called, Calls, Opening, text
from .format import Format, Offered

OPENING, CLOSING = "<tool_call>", "</tool_call>"
KEY, KEY_END = "<arg_key>", "</arg_key>"
VALUE, VALUE_END = "<arg_value>", "</arg_value>"


def first(scan: Scanner, offered: Offered) -> Steps[None]:
    """GLM 4: the answer is a tool's name, a line end, and the arguments."""
    yield from scan.peek()
    name = yield from scan.name()
    check(name, offered)
    if not (yield from scan.starts("\n")):
        raise Malformed("no name on a line of its own")
    yield from begin(scan, name, offered)


def body(scan: Scanner, offered: Offered) -> Steps[None]:
    """Behind `<tool_call>`: a name, and elements or a JSON object."""
    yield from scan.peek()
    name = yield from scan.name()
    check(name, offered)
    if (yield from scan.peek()) == "{":
        yield from begin(scan, name, offered, stop=CLOSING)
        return
    members, mark = Members(name, offered), (yield from scan.expect(KEY, CLOSING))
    yield CallStart(name)
    while mark == KEY:
        key = yield from scan.text(KEY_END, limit=MAX_NAME_CHARS)
        yield from scan.expect(VALUE)
        yield from members.member(scan, key.strip(), VALUE_END)
        mark = yield from scan.expect(KEY, CLOSING)
    yield members.end()
    yield CallEnd()


def enforced(calls: Calls) -> Sequence[Opening]:
    """Elements between marks, and as GLM 4 does: a name, and JSON on the next line."""

    def element(name: str, value: Value) -> str:
        return f'{calls.mark(KEY)} {name} {calls.mark(KEY_END)} "\\n" {calls.mark(VALUE)} {value.upto(VALUE_END)} "\\n"'

    def call(tool: Called) -> str:
        return f'{text(tool.name)} "\\n" {arguments(tool, calls.rules, element, names="[^<]+")} {calls.mark(CLOSING)}'

    in_json = bool(calls.template) and KEY not in calls.template
    elements = Opening(mark=OPENING, rest=calls.taught(not in_json).each(call), between='"\\n"')
    bare = [Opening(mark=f"{tool.name}\n", rest=calls.arguments(tool), first=True) for tool in calls.tools]
    forced = Opening(mark="", rest=calls.each(lambda tool: f'{text(tool.name)} "\\n" {calls.arguments(tool)}'))
    return (forced, elements, *bare) if in_json else (elements, *bare)


GLM = Format(
    name="glm4",
    grammar=marked({OPENING: closed(body, CLOSING)}, first),
    marks=(KEY,),
    families=("glm", "chatglm"),
    tokens=(OPENING, CLOSING, KEY, KEY_END, VALUE, VALUE_END),
    enforced=enforced,
)
