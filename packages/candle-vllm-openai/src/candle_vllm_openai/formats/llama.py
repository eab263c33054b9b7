"""Llama 3: `<|python_tag|>{...}`, `<function=name>{...}</function>`, or an answer that is one call object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..scanner import Scanner, Steps
from .calls import MAX_NAME_CHARS, Body, begin, call_objects, closed, marked
from .enforced import Calls, Opening, text
from .format import Format, Offered
from .generic import MORE, enforced_objects
from .pythonic import python_call

TAG, FUNCTION, END = "<|python_tag|>", "<function=", "</function>"
BARE = '{"name": function name, "parameters"'
"""How templates ask for calls without marks."""

_MARKED, _BARE = call_objects(), call_objects(bare=True)


def first(scan: Scanner, offered: Offered) -> Steps[None]:
    """Calls that are the whole answer, with `;` or nothing between them."""
    yield from _BARE(scan, offered)
    yield from _more(scan, offered)


def tagged(scan: Scanner, offered: Offered) -> Steps[None]:
    """Behind the tag: calls in JSON, or one call of a tool that was built in: `name.call(...)`."""
    if (yield from scan.peek()) in "{[":
        yield from _MARKED(scan, offered)
        yield from _more(scan, offered)
    else:
        yield from python_call(scan, offered, suffix=".call")


def function(scan: Scanner, offered: Offered) -> Steps[None]:
    """Behind `<function=`."""
    name = yield from scan.text(">", limit=MAX_NAME_CHARS)
    yield from begin(scan, name, offered, stop=END)


def _more(scan: Scanner, offered: Offered) -> Steps[None]:
    while (yield from scan.accept(";")) or (yield from scan.ahead()) == "{":
        yield from _BARE(scan, offered)


BODIES: Mapping[str, Body] = {TAG: tagged, FUNCTION: closed(function, END)}


def enforced(calls: Calls) -> Sequence[Opening]:
    """Bare, as Meta's templates ask for it, or between the marks of functions."""
    function = calls.each(lambda tool: f'{text(tool.name)} ">" {calls.arguments(tool)} {text(END)}')
    in_json = enforced_objects(calls, "parameters")
    tagged_calls = calls.several(calls.objects(arguments="parameters"), text("; "))
    openings = (
        *in_json,
        Opening(mark=TAG, rest=tagged_calls, more=MORE),
        Opening(mark=FUNCTION, rest=function, between=""),
    )
    in_functions = FUNCTION in calls.template and BARE not in calls.template
    return openings[::-1] if in_functions else openings


LLAMA = Format(
    name="llama",
    grammar=marked(BODIES, first),
    marks=(TAG, FUNCTION, BARE),
    families=("llama",),
    tokens=(TAG,),
    enforced=enforced,
)
