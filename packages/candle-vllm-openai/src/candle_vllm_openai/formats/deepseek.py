"""DeepSeek: V2.5, V3 and R1 fence their arguments, V3.1 does not, V3.2 writes elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..scanner import Malformed, Scanner, Steps
from .calls import MAX_NAME_CHARS, Body, begin, closed, marked
from .enforced import Called, Calls, Opening, text
from .format import Format, Offered
from .invoke import enforced_invoke, invokes

CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END, SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
DSML = "｜DSML｜"
ELEMENTS, ELEMENTS_END = f"<{DSML}function_calls>", f"</{DSML}function_calls>"


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
    head = (yield from scan.text(SEPARATOR, limit=MAX_NAME_CHARS, but=(CALLS, CALL, CALL_END))).strip()
    if (yield from scan.peek()) == "{":
        yield from begin(scan, head, offered, stop=CALL_END)
    elif head != "function":
        raise Malformed("expected a function")
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
    ELEMENTS: closed(invokes(DSML), ELEMENTS_END),
}


def enforced(offered: Calls) -> Sequence[Opening]:
    """As the template writes calls: as elements, with the arguments in a fence, or plainly."""
    mark, in_dsml = offered.mark, DSML in offered.template
    elements = offered.several(enforced_invoke(offered.taught(in_dsml), DSML, says_kind=True), '"\\n"')
    in_elements = Opening(mark=ELEMENTS, rest=f'"\\n" {elements} "\\n" {mark(ELEMENTS_END)}')

    def fenced(tool: Called) -> str:
        head, tail = text(f"{tool.name}\n```json\n"), text("\n```")
        return f'"function" {mark(SEPARATOR)} {head} {offered.arguments(tool)} {tail} {mark(CALL_END)}'

    def plain(tool: Called) -> str:
        return f"{text(tool.name)} {mark(SEPARATOR)} {offered.arguments(tool)} {mark(CALL_END)}"

    in_fences = "```json" in offered.template
    one = offered.rules.add(offered.each(fenced if in_fences else plain))
    between = '"\\n"' if in_fences else text("")
    more = f"({between} {mark(CALL)} {one})*" if offered.parallel else ""
    openings = (
        Opening(mark=CALLS, rest=f"{mark(CALL)} {one} {more} {mark(CALLS_END)}"),
        Opening(mark=CALL, rest=one),
        in_elements,
    )
    return (in_elements, *openings[:2]) if in_dsml else openings


DEEPSEEK = Format(
    name="deepseek",
    grammar=marked(BODIES),
    marks=(CALLS, CALL, DSML),
    families=("deepseek",),
    tokens=(CALLS, CALLS_END, CALL, CALL_END, SEPARATOR, DSML),
    enforced=enforced,
)
