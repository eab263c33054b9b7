"""DeepSeek: V2.5, V3 and R1 fence their arguments, V3.1 does not, V3.2 writes elements."""

from __future__ import annotations

from collections.abc import Mapping

from ..scanner import Malformed, Scanner, Steps
from .calls import MAX_NAME_CHARS, Body, begin, closed, marked
from .format import Format, Offered
from .invoke import invokes

CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END, SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
ELEMENTS, ELEMENTS_END = "<｜DSML｜function_calls>", "</｜DSML｜function_calls>"


def calls(scan: Scanner, offered: Offered) -> Steps[None]:
    """Behind the mark before all calls."""
    num_calls = 0
    while (yield from scan.accept(CALL)):
        yield from call(scan, offered)
        num_calls += 1
    if not num_calls:
        raise Malformed(f"expected {CALL!r}")


def call(scan: Scanner, offered: Offered) -> Steps[None]:
    """Behind the mark before each call: `name<sep>{...}`, or `function<sep>name` and the arguments in a fence."""
    head = (yield from scan.text(SEPARATOR, limit=MAX_NAME_CHARS)).strip()
    if (yield from scan.peek()) == "{":
        yield from begin(scan, head, offered, stop=CALL_END)
    else:
        name, _ = yield from scan.upto("\n", "```", "{", limit=MAX_NAME_CHARS)
        fenced = yield from scan.accept("```")
        yield from scan.accept("json")
        yield from begin(scan, name.strip(), offered, stop=CALL_END)
        if fenced:
            yield from scan.closing("```")
    yield from scan.closing(CALL_END)


BODIES: Mapping[str, Body] = {
    CALLS: closed(calls, CALLS_END),
    CALL: closed(call, CALLS_END),
    ELEMENTS: closed(invokes("｜DSML｜"), ELEMENTS_END),
}

DEEPSEEK = Format(
    name="deepseek",
    grammar=marked(BODIES),
    marks=(CALLS, CALL, "｜DSML｜"),
    families=("deepseek",),
    tokens=(CALLS, CALLS_END, CALL, CALL_END, SEPARATOR, "｜DSML｜"),
)
