"""Calls as Python writes them: `[f(x=1), g()]` as the whole answer or between marks (Llama 4, LFM 2, OLMo 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..scanner import CallArguments, CallEnd, CallStart, Malformed, Scanner, Steps
from .arguments import Value, arguments
from .calls import Body, check, closed, listed, marked
from .elements import Members
from .enforced import Called, Calls, Opening, text
from .format import Format, Offered
from .literals import PYTHON

LLAMA_START, LLAMA_END = "<|python_start|>", "<|python_end|>"
LFM_START, LFM_END = "<|tool_call_start|>", "<|tool_call_end|>"
NAMES = r"[^\W\d][\w.-]*"
OLMO_START, OLMO_END = "<function_calls>", "</function_calls>"


def python_calls(scan: Scanner, offered: Offered) -> Steps[None]:
    """A list of calls, or calls one below the other."""
    if (yield from scan.peek()) == "[":
        yield from python_list(scan, offered)
        return
    yield from python_call(scan, offered)
    while (yield from scan.accept(";")) or (yield from _begins(scan)):
        yield from python_call(scan, offered)


def python_list(scan: Scanner, offered: Offered) -> Steps[None]:
    """A list of calls."""
    yield from scan.expect("[")
    yield from listed(scan, offered, python_call)


def python_call(scan: Scanner, offered: Offered, *, suffix: str = "") -> Steps[None]:
    """One call: `name(key=value, ...)`, or values alone, in the order of the tool's parameters."""
    yield from scan.peek()
    written = yield from scan.name()
    name = written.removesuffix(suffix)
    check(name, offered)
    if not (yield from scan.starts("(")):
        raise Malformed("a call needs brackets")
    scan.take(1)
    members, order, begun = Members(name, offered), list(offered.parameters(name)), False
    while not (yield from scan.accept(")")):
        key, value = yield from _key(scan)
        if not key and not order:
            raise Malformed("a value has no name")
        if not begun:
            yield CallStart(name)
            begun = True
        yield members.begin(key or order[0])
        order = [each for each in order if each != (key or order[0])]
        if value:
            yield CallArguments(value)
        else:
            yield from PYTHON.value(scan)
        if not (yield from scan.accept(",")):
            yield from scan.expect(")")
            break
    if not begun:
        yield CallStart(name)
    yield members.end()
    yield CallEnd()


def _key(scan: Scanner) -> Steps[tuple[str, str]]:
    """The name before a value, or else, if a word came that is the value, its JSON."""
    char = yield from scan.peek()
    if not (char.isalnum() or char == "_"):
        return "", ""
    word = yield from scan.word()
    yield from scan.peek()
    if (yield from scan.accept("=")):
        return word, ""
    return "", PYTHON.word(word)


def _begins(scan: Scanner) -> Steps[bool]:
    char = yield from scan.ahead()
    return char.isalpha() or char == "_"


BODIES: Mapping[str, Body] = {
    LLAMA_START: closed(python_calls, LLAMA_END),
    LFM_START: closed(python_calls, LFM_END),
    OLMO_START: closed(python_calls, OLMO_END),
}


def enforced_call(calls: Calls) -> str:
    """The expression for one call, each argument by its name."""

    def keyword(name: str, value: Value) -> str:
        return f'{name} "=" {value.json()}'

    def call(tool: Called) -> str:
        return f'{text(f"{tool.name}(")} {arguments(tool, calls.rules, keyword, between=text(", "), names=NAMES)} ")"'

    return calls.each(call)


def enforced(calls: Calls) -> Sequence[Opening]:
    """As the template shows it: between its marks, else as the whole answer."""
    call = calls.rules.add(enforced_call(calls))
    listed = f'{calls.several(call, text(", "))} "]"'
    bodies = {LLAMA_START: f'"[" {listed}', LFM_START: f'"[" {listed}', OLMO_START: calls.several(call, text("\n"))}
    ends = {LLAMA_START: LLAMA_END, LFM_START: LFM_END, OLMO_START: OLMO_END}
    marked_calls = [Opening(mark=start, rest=f"{body} {calls.mark(ends[start])}") for start, body in bodies.items()]
    bare = Opening(mark="[", rest=listed, first=True)
    return sorted([bare, *marked_calls], key=lambda each: each is bare or each.mark not in calls.template)


PYTHONIC = Format(
    name="pythonic",
    grammar=marked(BODIES, python_list),
    marks=(LFM_START, "<|tool_list_start|>", LLAMA_START, OLMO_START),
    families=("llama4", "lfm2", "olmo3"),
    tokens=(LLAMA_START, LLAMA_END, LFM_START, LFM_END),
    enforced=enforced,
)
