"""Lists of call objects behind a mark: Command R, Nemotron, Granite 3, Phi 4 mini; and Kimi K2's calls."""

from __future__ import annotations

from collections.abc import Mapping

from ..scanner import Malformed, Scanner, Steps
from .calls import MAX_NAME_CHARS, Body, begin, call_objects, closed, marked
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
        written = (yield from scan.text(CALL_ARGUMENTS, limit=MAX_NAME_CHARS)).strip()
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

COMMAND = Format(
    name="command",
    grammar=marked({ACTION: BODIES[ACTION], PLAN: closed(plan, "```")}),
    marks=(ACTION, "Write 'Action:'", "Write \\'Action:\\'"),
    families=("cohere",),
    tokens=(ACTION, ACTION_END),
)
NEMOTRON = Format(
    name="nemotron",
    grammar=marked({TOOLCALL: BODIES[TOOLCALL]}),
    marks=(TOOLCALL,),
    families=("nemotron",),
    tokens=(TOOLCALL, TOOLCALL_END),
)
GRANITE = Format(
    name="granite",
    grammar=marked({BAR: BODIES[BAR]}),
    marks=(BAR,),
    families=("granite",),
    tokens=(BAR, BAR_END),
)
KIMI = Format(
    name="kimi_k2",
    grammar=marked({SECTION: BODIES[SECTION]}),
    marks=(SECTION,),
    families=("kimi",),
    tokens=(SECTION, SECTION_END, CALL, CALL_ARGUMENTS, CALL_END),
)
