"""What formats are put together from: calls written in JSON, and calls between marks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TypeAlias

from ..scanner import CallArguments, CallEnd, CallStart, Event, Grammar, Malformed, Scanner, Steps
from .format import Offered

MAX_NAME_CHARS = 256

Body: TypeAlias = Callable[[Scanner, Offered], Steps[None]]
"""How calls are read that stand behind a mark."""

_NAMES = ("name", "function", "tool_name")
_NESTED = ("function", "tool_calls")
_BESIDE = ("type", "id", "index", "tool_call_id")
_ARGUMENTS = ("arguments", "parameters")


def marked(bodies: Mapping[str, Body], first: Body | None = None) -> Callable[[Offered], Grammar]:
    """Text, and calls behind marks; with `first`, calls may also be the first of the answer, without a mark."""

    def offering(offered: Offered) -> Grammar:
        def grammar(scan: Scanner) -> Steps[None]:
            yield from scan.ahead()
            if first is not None and not (yield from scan.at(*bodies)):
                yield from scan.attempt(first(scan, offered))
            while (mark := (yield from scan.prose(*bodies))) is not None:
                yield from scan.attempt(bodies[mark](scan, offered))

        return grammar

    return offering


def closed(body: Body, closing: str) -> Body:
    """`body`, and the mark that closes it, if it comes."""

    def both(scan: Scanner, offered: Offered) -> Steps[None]:
        if (yield from scan.attempt(body(scan, offered), closing)):
            yield from scan.closing(closing)

    return both


def call_object(stop: str = "", *, bare: bool = False, nesting: int = 2) -> Body:
    """`{"name": ..., "arguments": ...}` with its keys in any order.

    `stop`: a mark that ends the call wherever it stands outside strings. `bare`: nothing but its keys shows that it is
    a call, so it must have arguments. `nesting`: how deep calls may stand inside of such an object.
    """

    def body(scan: Scanner, offered: Offered) -> Steps[None]:
        yield from scan.expect("{")
        name, held, begun = "", "", False
        while not (yield from scan.accept("}")):
            key = yield from text_of(scan)
            yield from scan.expect(":")
            if key in _NAMES and not name and (yield from scan.peek()) == '"':
                name = yield from text_of(scan)
                check(name, offered)
            elif key in _NESTED and nesting and not name and (yield from scan.peek()) in "{[":
                yield from call_objects(stop, bare=bare, nesting=nesting - 1)(scan, offered)
                begun = True
            elif key in _ARGUMENTS and not begun and not held and name:
                yield from arguments(scan, name, stop=stop)
                begun = True
            elif key in _ARGUMENTS and not begun and not held:
                parts: list[str] = []
                yield from scan.value(_into(parts), stop=stop)
                held = "".join(parts)
            elif key in _BESIDE:
                yield from scan.value(_nowhere, stop=stop)
            else:
                raise Malformed(f"a call has no {key[:MAX_NAME_CHARS]!r}")
            if not (yield from scan.accept(",")):
                yield from scan.closing("}") if begun else scan.expect("}")
                break
        if not begun:
            if not name or (bare and not held):
                raise Malformed("no call: a name or arguments are missing")
            yield from whole_call(name, _object(held or "{}"))
        elif name:
            yield CallEnd()

    return body


def call_objects(stop: str = "", *, bare: bool = False, nesting: int = 2) -> Body:
    """One call object, or a list of them."""
    one = call_object(stop, bare=bare, nesting=nesting)

    def body(scan: Scanner, offered: Offered) -> Steps[None]:
        if (yield from scan.peek()) != "[":
            yield from one(scan, offered)
            return
        scan.take(1)
        yield from listed(scan, offered, one)

    return body


def listed(scan: Scanner, offered: Offered, one: Body) -> Steps[None]:
    """What follows the opening bracket of a list of calls, which has one at least."""
    yield from one(scan, offered)
    while (yield from scan.accept(",")) and (yield from scan.ahead()) != "]":
        yield from one(scan, offered)
    yield from scan.closing("]")


def begin(scan: Scanner, name: str, offered: Offered, *, stop: str = "") -> Steps[None]:
    """A call whose arguments, a JSON object, come next; they stream verbatim."""
    check(name, offered)
    yield from arguments(scan, name, stop=stop)
    yield CallEnd()


def arguments(scan: Scanner, name: str, *, stop: str = "") -> Steps[None]:
    """The start of a call, and its arguments: a JSON object, a string that holds one, or null."""
    match (yield from scan.peek()):
        case "{":
            opening = scan.take(1)
            space = yield from scan.space()
            if (yield from scan.peek()) not in '"}':
                raise Malformed("the arguments are no JSON object")
            yield CallStart(name)
            yield CallArguments(opening + space)
            yield from scan.value(CallArguments, depth=1, stop=stop)
        case _:
            parts: list[str] = []
            yield from scan.value(_into(parts), stop=stop)
            text = _object("".join(parts))
            yield CallStart(name)
            yield CallArguments(text)


def whole_call(name: str, text: str) -> Steps[None]:
    """A call that is known at once."""
    yield CallStart(name)
    yield CallArguments(text)
    yield CallEnd()


def text_of(scan: Scanner) -> Steps[str]:
    """One JSON string, decoded."""
    return decoded((yield from scan.string()))


def decoded(written: str) -> str:
    """What a JSON string says.

    Raises:
        Malformed: it is none, or holds half a surrogate pair.
    """
    try:
        text = str(json.loads(written, strict=False))
        text.encode()
    except ValueError as error:
        raise Malformed(str(error)) from error
    return text


def check(name: str, offered: Offered) -> None:
    """That a tool of that name is on offer.

    Raises:
        Malformed: none is.
    """
    if len(name) > MAX_NAME_CHARS or name not in offered:
        raise Malformed(f"{name[:MAX_NAME_CHARS]!r} is no tool on offer")


def _object(written: str) -> str:
    """The arguments' JSON object; where they are a string that holds one, or null, as an object."""
    try:
        value = json.loads(written)
        if isinstance(value, str):
            written, value = value, json.loads(value)
    except (ValueError, RecursionError) as error:
        raise Malformed("the arguments are no JSON object") from error
    if value is None:
        return "{}"
    if not isinstance(value, dict):
        raise Malformed("the arguments are no JSON object")
    return written


def _into(parts: list[str]) -> Callable[[str], Event | None]:
    def emit(part: str) -> None:
        parts.append(part)

    return emit


def _nowhere(part: str) -> None:
    """What a call says beside its name and arguments: its own id, its type."""
