"""MiniMax M2: `<minimax:tool_call><invoke name="..."><parameter name="...">...</parameter></invoke>...`."""

from __future__ import annotations

from collections.abc import Mapping

from .calls import Body, closed, marked
from .format import Format
from .invoke import invokes

OPENING, CLOSING = "<minimax:tool_call>", "</minimax:tool_call>"

body = closed(invokes(), CLOSING)

BODIES: Mapping[str, Body] = {OPENING: body}

MINIMAX = Format(
    name="minimax_m2",
    grammar=marked(BODIES),
    marks=(OPENING,),
    families=("minimax",),
    tokens=(OPENING, CLOSING),
)
