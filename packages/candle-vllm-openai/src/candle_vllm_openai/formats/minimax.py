"""MiniMax M2: `<minimax:tool_call><invoke name="..."><parameter name="...">...</parameter></invoke>...`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .calls import Body, closed, marked
from .enforced import Calls, Opening
from .format import Format
from .invoke import enforced_invoke, invokes

OPENING, CLOSING = "<minimax:tool_call>", "</minimax:tool_call>"

body = closed(invokes(), CLOSING)

BODIES: Mapping[str, Body] = {OPENING: body}


def enforced(calls: Calls) -> Sequence[Opening]:
    """Each call on lines of its own."""
    several = calls.several(enforced_invoke(calls), '"\\n"')
    return (Opening(mark=OPENING, rest=f'"\\n" {several} "\\n" {calls.mark(CLOSING)}'),)


MINIMAX = Format(
    name="minimax_m2",
    grammar=marked(BODIES),
    marks=(OPENING,),
    families=("minimax",),
    tokens=(OPENING, CLOSING),
    enforced=enforced,
)
