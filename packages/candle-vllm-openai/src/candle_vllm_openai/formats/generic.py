"""JSON and nothing else: the answer is a call object, a list of them, or such a list as `tool_calls`."""

from __future__ import annotations

from ..scanner import Scanner, Steps
from .calls import call_objects, marked
from .format import Format, Offered

_CALLS = call_objects(bare=True)


def first(scan: Scanner, offered: Offered) -> Steps[None]:
    """Calls that are the whole answer."""
    yield from _CALLS(scan, offered)
    while (yield from scan.accept(";")) or (yield from scan.ahead()) == "{":
        yield from _CALLS(scan, offered)


JSON = Format(name="json", grammar=marked({}, first))
