"""JSON and nothing else: the answer is a call object, a list of them, or such a list as `tool_calls`."""

from __future__ import annotations

from collections.abc import Sequence

from ..scanner import Scanner, Steps
from .calls import call_objects, marked
from .enforced import Calls, Opening, text
from .format import Format, Offered

_CALLS = call_objects(bare=True)
MORE = (";", "{")
"""What begins one more call after another."""


def first(scan: Scanner, offered: Offered) -> Steps[None]:
    """Calls that are the whole answer."""
    yield from _CALLS(scan, offered)
    while (yield from scan.accept(";")) or (yield from scan.ahead()) == "{":
        yield from _CALLS(scan, offered)


def enforced_objects(calls: Calls, arguments: str = "arguments") -> Sequence[Opening]:
    """One object, or several with `;` between them; or a list."""
    one, opened = calls.objects(arguments=arguments), calls.objects(arguments=arguments, opened=True)
    bare = f'{opened} ("; " {one})*' if calls.parallel else opened
    listed = f'{calls.several(one, text(", "))} "]"'
    return (Opening(mark="{", rest=bare, first=True, more=MORE), Opening(mark="[", rest=listed, first=True, more=MORE))


JSON = Format(name="json", grammar=marked({}, first), enforced=enforced_objects)
