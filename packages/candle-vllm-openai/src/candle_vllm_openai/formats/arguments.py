"""Arguments that a format writes one by one, as expressions of a grammar."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import ApiError
from .elements import kinds_of
from .enforced import ANY, NOTHING, SPACE_CLASS, Called, Rules, Schema, escaped, one_of, text
from .schema import Members, choices_of_members, plain, takes, values_of, with_definitions
from .strings import FORMATS, terminal_of

ANY_NAME = "/[a-zA-Z_][a-zA-Z0-9_-]{0,63}/"
UNENFORCED = ("patternProperties", "minProperties", "maxProperties", "propertyNames", "dependentRequired")
WORDS: Mapping[str, tuple[bool | None, ...]] = {"null": (None,), "boolean": (True, False)}
TEXT = frozenset({"string"})
ALL_KINDS = frozenset({"string", "integer", "number", "boolean", "null", "array", "object"})
UNCLEAR = frozenset({"not", "if", "$ref", "$dynamicRef"})
"""Keywords that may say something of strings which is not looked into."""
BOUNDS = UNCLEAR | {"enum", "const", "anyOf", "oneOf", "allOf", "pattern", "format", "minLength", "maxLength"}

_JSON = {
    "null": "null|None",
    "boolean": "true|false|True|False",
    "integer": r"-?[0-9](?s:.*)",
    "number": r"-?[0-9](?s:.*)",
    "array": r"\[(?s:.*)",
    "object": r"\{(?s:.*)",
}
"""What texts look like, or begin with, that are JSON of some type: a string must not, where that type is allowed."""


@dataclass(frozen=True, slots=True)
class Value:
    """The value of one argument."""

    schema: Schema | bool
    tool: Called
    rules: Rules
    path: str

    @property
    def is_text(self) -> bool:
        """Whether only strings are allowed."""
        return kinds_of(self._plain) == TEXT

    @property
    def _plain(self) -> Schema:
        return plain(self.schema, self.tool.schema)

    def json(self) -> str:
        """The expression for the value as JSON."""
        return self._json(self.schema)

    def quoted(self, quote: str) -> str:
        """The expression for the value: a string between quotes, in which nothing is escaped, anything else as JSON."""
        if self.is_text:
            return f"{self.rules.mark(quote)} {self._string(quote)}"
        return self.json()

    def upto(self, mark: str) -> str:
        """The expression for the value and a mark after it: a string as it stands, anything else as JSON."""
        schema = self._plain
        kinds = kinds_of(schema) or (ALL_KINDS if BOUNDS & schema.keys() else TEXT)
        values = values_of(schema)
        if kinds != TEXT and values is not None:
            listed = [text(value if isinstance(value, str) else json.dumps(value)) for value in values]
            return self.rules.upto(self.rules.terminal(" | ".join(listed)), mark)
        if "string" not in kinds or not schema.keys().isdisjoint(UNCLEAR):
            return f"{self._json(self._other(kinds) if 'string' in kinds else self.schema)} {self.rules.mark(mark)}"
        string = self._string(mark, kinds)
        longer = kinds - TEXT - WORDS.keys()
        return one_of([string, f"{self._json(self._other(longer))} {self.rules.mark(mark)}"]) if longer else string

    def _string(self, mark: str, kinds: frozenset[str] = TEXT) -> str:
        """A string up to a mark that is not in it, or a word for a value of the other `kinds`.

        Only one of all that may stand here goes on with what was written, so a string must not begin like the others.
        """
        schema = self._plain
        self._check_format(schema)
        bounds = [terminal_of(schema, self.rules, self.path), f"~/(?s:.*){escaped(mark)}(?s:.*)/"]
        if others := "|".join(dict.fromkeys(_JSON[kind] for kind in sorted(kinds - TEXT))):
            bounds.append(f"~/{SPACE_CLASS}*({others}){SPACE_CLASS}*/")
        words = [
            text(json.dumps(word))
            for kind in sorted(kinds & WORDS.keys())
            for word in WORDS[kind]
            if takes(schema, kind, word)
        ]
        string = self.rules.terminal(" & ".join([*bounds, ANY]), self.path)
        return self.rules.upto(self.rules.terminal(" | ".join([string, *words])) if words else string, mark)

    def _other(self, kinds: frozenset[str]) -> Schema:
        return {"allOf": [self.schema, {"type": sorted(kinds - TEXT)}]}

    def _json(self, schema: Schema | bool) -> str:
        whole = with_definitions(schema, self.tool.schema)
        return self.rules.json(whole, self.path, lenient=self.tool.lenient)

    def _check_format(self, schema: Schema) -> None:
        name = schema.get("format")
        if isinstance(name, str) and name not in FORMATS and not self.tool.lenient:
            raise _refused(f"{self.path}.format", f"is {name!r}, which cannot be enforced; leave it out")


Write = Callable[[str, Value], str]
"""How a format writes one argument: the expression for it, of the expression for its name and its value."""


def arguments(tool: Called, rules: Rules, write: Write, *, between: str = "", names: str = r"(?s:.+)") -> str:
    """The expression for all of a tool's arguments, in the order of its schema, with `between` between them.

    `names`: a regular expression for the names that the format can write.

    Raises:
        ApiError: an argument is required whose name the format cannot write, or something else cannot be enforced.
    """
    if not tool.lenient:
        for keyword in UNENFORCED:
            if keyword in tool.schema:
                reason = "cannot be enforced in the way in which this model writes arguments; leave it out"
                raise _refused(f"{tool.path}.{keyword}", reason)
    # No text leads here, but the schema is compiled, and refused where it must be, as it is in other formats.
    unreached = f"{NOTHING} {rules.json(tool.schema, tool.path, lenient=tool.lenient)}"
    ways = [_Sequence(tool, rules, write, between, names).of(way) for way in choices_of_members(tool.schema)]
    return one_of([*ways, unreached])


@dataclass(frozen=True, slots=True)
class _Sequence:
    tool: Called
    rules: Rules
    write: Write
    between: str
    names: str

    def of(self, members: Members) -> str:
        """All arguments, as one expression."""
        written = [
            (self._argument(text(name), schema, name), name in members.required)
            for name, schema in members.properties.items()
            if self._can_write(name, name in members.required)
        ]
        if not members.properties and members.additional is not False:
            additional = Value(members.additional, self.tool, self.rules, f"{self.tool.path}.additionalProperties")
            one = self.rules.add(self.write(ANY_NAME, additional))
            return f"({one} ({self.between} {one})*)?"
        return self._in_order(written)

    def _argument(self, written: str, schema: Schema | bool, name: str) -> str:
        path = f"{self.tool.path}.properties.{name}"
        return self.rules.add(self.write(written, Value(schema, self.tool, self.rules, path)))

    def _in_order(self, arguments: list[tuple[str, bool]]) -> str:
        """Those of these arguments that are required and any of the others."""
        if not self.between:
            return " ".join(each if required else f"{each}?" for each, required in arguments)
        alone, after = text(""), ""  # what is left of them, where there was none before, and where there was one
        for each, required in reversed(arguments):
            here, there = f"{each} {after}", f"{self.between} {each} {after}"
            alone = self.rules.add(here if required else f"{here} | {alone}")
            after = self.rules.add(there if required else f"{there} | {after or text('')}")
        return alone

    def _can_write(self, name: str, required: bool) -> bool:
        can = re.fullmatch(self.names, name) is not None
        if required and not can:
            raise _refused(f"{self.tool.path}.properties.{name}", "has a name that this model cannot write in a call")
        return can


def _refused(path: str, reason: str) -> ApiError:
    return ApiError(f"`{path}` {reason}", code="unsupported_field", param=path)
