"""Mistral: `[TOOL_CALLS] [{"name": ..., "arguments": {...}}, ...]`, later `[TOOL_CALLS]name[ARGS]{...}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..scanner import Scanner, Steps
from .calls import MAX_NAME_CHARS, Body, begin, call_object, check, listed, marked
from .enforced import Calls, Opening, text
from .format import Format, Offered

OPENING, ARGUMENTS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"

_OBJECT = call_object()


def body(scan: Scanner, offered: Offered) -> Steps[None]:
    """A list of calls, or one call with its name first."""
    match (yield from scan.peek()):
        case "[":
            scan.take(1)
            yield from listed(scan, offered, _OBJECT)
        case "{":
            yield from _OBJECT(scan, offered)
        case _:
            name, mark = yield from scan.upto(ARGUMENTS, CALL_ID, "{", OPENING, limit=MAX_NAME_CHARS)
            check(name.strip(), offered)
            if mark == CALL_ID:
                scan.take(len(mark))
                yield from scan.word()
                yield from scan.expect(ARGUMENTS)
            elif mark == ARGUMENTS:
                scan.take(len(mark))
            yield from begin(scan, name.strip(), offered)


def enforced(calls: Calls) -> Sequence[Opening]:
    """With the name first, if the template or else the vocabulary has the mark that follows it; or in a list."""
    if ARGUMENTS not in calls.template if calls.template else calls.rules.spelled(ARGUMENTS):
        return (Opening(mark=OPENING, rest=f'"[" {calls.several(calls.objects(), text(", "))} "]"'),)
    call = calls.each(lambda tool: f"{text(tool.name)} {calls.mark(ARGUMENTS)} {calls.arguments(tool)}")
    return (Opening(mark=OPENING, rest=call, between=""),)


BODIES: Mapping[str, Body] = {OPENING: body}

MISTRAL = Format(
    name="mistral",
    grammar=marked(BODIES),
    marks=("[TOOL_CALLS]",),
    families=("mistral", "ministral", "mixtral"),
    tokens=(OPENING, ARGUMENTS, CALL_ID),
    enforced=enforced,
)
