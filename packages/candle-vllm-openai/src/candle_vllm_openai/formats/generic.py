"""JSON and nothing else: the answer is a call object, a list of them, or such a list as `tool_calls`."""

from __future__ import annotations

from collections.abc import Sequence

from ..scanner import Scanner, Steps
from .calls import call_objects, marked
from .enforced import Calls, Opening
from .format import Format, Offered

_CALLS = call_objects(bare=True)


def first(scan: Scanner, offered: Offered) -> Steps[None]:
    """Calls that are the whole answer."""
    yield from _CALLS(scan, offered)
    while (yield from scan.accept(";")) or (yield from scan.ahead()) == "{":
        yield from _CALLS(scan, offered)


def enforced(calls: Calls) -> Sequence[Opening]:
    """One object, or several with `;` between them."""
    return (Opening(mark="{", rest=calls.objects(opened=True), between='"; "', first=True),)


JSON = Format(name="json", grammar=marked({}, first), enforced=enforced)
