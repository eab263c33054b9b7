"""Lists of call objects behind a mark: Command R, Nemotron, Granite 3, Phi 4 mini; and Kimi K2's calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..scanner import Malformed, Scanner, Steps
from .calls import MAX_NAME_CHARS, Body, begin, call_objects, closed, marked
from .enforced import Called, Calls, Opening, text
from .format import Format, Offered

ACTION, ACTION_END = "<|START_ACTION|>", "<|END_ACTION|>"
PLAN = "Action:"
TOOLCALL, TOOLCALL_END = "<TOOLCALL>", "</TOOLCALL>"
BAR, BAR_END = "<|tool_call|>", "<|/tool_call|>"
SECTION, SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL, CALL_ARGUMENTS, CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"


def plan(scan: Scanner, offered: Offered) -> Steps[None]:
    """Command R's first form: `Action:` and a fenced list."""
    yield from scan.expect("```json")
    yield from call_objects()(scan, offered)


def section(scan: Scanner, offered: Offered) -> Steps[None]:
    """Kimi's calls: `functions.name:0` and the arguments, each between marks."""
    num_calls = 0
    while (yield from scan.accept(CALL)):
        written = (yield from scan.text(CALL_ARGUMENTS, limit=MAX_NAME_CHARS, but=(SECTION, CALL, CALL_END))).strip()
        name = written.removeprefix("functions.").rpartition(":")[0] or written
        yield from begin(scan, name, offered, stop=CALL_END)
        yield from scan.closing(CALL_END)
        num_calls += 1
    if not num_calls:
        raise Malformed(f"expected {CALL!r}")


BODIES: Mapping[str, Body] = {
    ACTION: closed(call_objects(ACTION_END), ACTION_END),
    TOOLCALL: closed(call_objects(TOOLCALL_END), TOOLCALL_END),
    BAR: closed(call_objects(BAR_END), BAR_END),
    SECTION: closed(section, SECTION_END),
}


def enforced_list(calls: Calls, opening: str, closing: str, call: str) -> Opening:
    """A list of calls between marks; nothing closes it if the closing mark is not in the model's template."""
    end = calls.mark(closing) if not calls.template or closing in calls.template else ""
    return Opening(mark=opening, rest=f'"[" {calls.several(call, text(", "))} "]" {end}')


def enforced_command(calls: Calls) -> Sequence[Opening]:
    """In the way that the template has."""
    call = calls.objects("tool_name", "parameters")
    action = enforced_list(calls, ACTION, ACTION_END, call)
    planned = Opening(mark=PLAN, rest=f'" ```json\\n[" {calls.several(call, text(", "))} "]\\n```"')
    return (planned, action) if PLAN in calls.template and ACTION not in calls.template else (action, planned)


def enforced_nemotron(calls: Calls) -> Sequence[Opening]:
    """A list."""
    return (enforced_list(calls, TOOLCALL, TOOLCALL_END, calls.objects()),)


def enforced_granite(calls: Calls) -> Sequence[Opening]:
    """A list."""
    return (enforced_list(calls, BAR, BAR_END, calls.objects()),)


def enforced_kimi(calls: Calls) -> Sequence[Opening]:
    """Each call with an id that has its number."""
    mark = calls.mark

    def call(tool: Called) -> str:
        name = text(f"functions.{tool.name}:")
        return f"{mark(CALL)} {name} /[0-9]{{1,3}}/ {mark(CALL_ARGUMENTS)} {calls.arguments(tool)} {mark(CALL_END)}"

    return (Opening(mark=SECTION, rest=f"{calls.several(calls.each(call), '')} {mark(SECTION_END)}"),)


COMMAND = Format(
    name="command",
    grammar=marked({ACTION: BODIES[ACTION], PLAN: closed(plan, "```")}),
    marks=(ACTION, "Write 'Action:'", "Write \\'Action:\\'"),
    families=("cohere",),
    tokens=(ACTION, ACTION_END),
    enforced=enforced_command,
)
NEMOTRON = Format(
    name="nemotron",
    grammar=marked({TOOLCALL: BODIES[TOOLCALL]}),
    marks=(TOOLCALL,),
    families=("nemotron",),
    tokens=(TOOLCALL, TOOLCALL_END),
    enforced=enforced_nemotron,
)
GRANITE = Format(
    name="granite",
    grammar=marked({BAR: BODIES[BAR]}),
    marks=(BAR,),
    families=("granite",),
    tokens=(BAR, BAR_END),
    enforced=enforced_granite,
)
KIMI = Format(
    name="kimi_k2",
    grammar=marked({SECTION: BODIES[SECTION]}),
    marks=(SECTION,),
    families=("kimi",),
    tokens=(SECTION, SECTION_END, CALL, CALL_ARGUMENTS, CALL_END),
    enforced=enforced_kimi,
)
