"""Arguments written as elements, not as JSON: each becomes a member of a JSON object as its text comes.

What a value is, the tool's schema says: text of a string streams as it comes; any other value waits for its end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..scanner import CallArguments, Event, Scanner, Steps, Truncated
from .format import Offered, Schema
from .schema import parts

_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
_NUMBERS = {"integer", "number"}
_KINDS: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
    "null": type(None),
}


class Members:
    """Writes the arguments of one call, member by member."""

    def __init__(self, tool: str, offered: Offered) -> None:
        self._tool = tool
        self._offered = offered
        self._before = "{"

    def begin(self, name: str) -> Event:
        """The name of the next member."""
        fragment = f"{self._before}{json.dumps(name, ensure_ascii=False)}: "
        self._before = ", "
        return CallArguments(fragment)

    def end(self) -> Event:
        """There are no more members."""
        return CallArguments("{}" if self._before == "{" else "}")

    def member(
        self, scan: Scanner, name: str, closing: str, *, lines: bool = False, kinds: frozenset[str] | None = None
    ) -> Steps[None]:
        """A member whose value stands before `closing`; with `lines` on lines of its own.

        `kinds`: the JSON types that it may have, if the call itself says so.
        """
        yield self.begin(name)
        if kinds is None:
            kinds = kinds_of(self._offered.parameter(self._tool, name))
        if kinds == {"string"}:
            yield from quoted(scan, closing, lines=lines)
        else:
            yield from _converted(scan, closing, kinds, lines=lines)


def quoted(scan: Scanner, closing: str, *, lines: bool = False) -> Steps[None]:
    """Text up to the closing mark, as the JSON string that says it; `lines`: without a line end at both ends."""
    yield CallArguments('"')
    if lines and (yield from scan.starts("\n")):
        scan.take(1)
    marks = (f"\n{closing}", closing) if lines else (closing,)
    if (yield from scan.until(*marks, emit=_escaped)) is None:
        raise Truncated(f"expected {closing!r}")
    yield CallArguments('"')


def kinds_of(schema: Schema) -> frozenset[str]:
    """The JSON types that a schema allows, as far as it says so plainly; none if it does not."""
    if "const" in schema or isinstance(schema.get("enum"), list):
        values = [schema["const"]] if "const" in schema else schema["enum"]
        return frozenset(kind for value in values for kind in [_kind(value)])
    if isinstance(named := schema.get("type"), str | list):
        return frozenset([named] if isinstance(named, str) else map(str, named))
    for key in ("anyOf", "oneOf"):
        if isinstance(choices := schema.get(key), list):
            each = [kinds_of(choice) if isinstance(choice, Mapping) else frozenset() for choice in choices]
            return frozenset[str]().union(*each) if all(each) else frozenset()
    return next(filter(None, map(kinds_of, parts(schema, "allOf"))), frozenset())


def as_json(raw: str, kinds: frozenset[str]) -> str:
    """`raw` itself if it is JSON of a type allowed, or Python's word for it; else the JSON string that says it.

    No types allowed means that any but a string is: a string is written without quotes.
    """
    written = _PYTHON_WORDS.get(raw.strip(), raw.strip()) if kinds - {"string"} else raw.strip()
    try:
        kind = _kind(json.loads(written, parse_constant=_refused))
    except (ValueError, RecursionError):
        return json.dumps(raw, ensure_ascii=False)
    number = kind in _NUMBERS and not kinds.isdisjoint(_NUMBERS)
    allowed = kind != "string" and (not kinds or number or kind in kinds)
    return written if allowed else json.dumps(raw, ensure_ascii=False)


def _converted(scan: Scanner, closing: str, kinds: frozenset[str], *, lines: bool) -> Steps[None]:
    parts: list[str] = []

    def hold(part: str) -> None:
        parts.append(part)

    ended = yield from scan.until(closing, emit=hold)
    raw = "".join(parts)
    if lines:
        raw = raw.removeprefix("\n").removesuffix("\n")
    if ended is None:
        yield CallArguments(raw if kinds and "string" not in kinds else json.dumps(raw, ensure_ascii=False)[:-1])
        raise Truncated(f"expected {closing!r}")
    yield CallArguments(as_json(raw, kinds))


def _escaped(part: str) -> Event:
    return CallArguments(json.dumps(part, ensure_ascii=False)[1:-1])


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    return next((kind for kind, types in _KINDS.items() if isinstance(value, types)), "string")


def _refused(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
