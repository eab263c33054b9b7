"""How calls are enforced: the calls that a format may write, as rules of a grammar (`Constraint.grammar`)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from candle_vllm_core import Constraint, constraint_expression

from ..errors import ApiError

Schema: TypeAlias = Mapping[str, Any]
"""A JSON schema."""
MarkWriter: TypeAlias = Callable[[str], Sequence[str]]
"""A text that a format writes → the expressions for its parts: control tokens by their ids, the rest as spelled."""
ANY_CHARS = "(?s:.*)"
ANY, NOTHING = f"/{ANY_CHARS}/", r"/[^\s\S]/"
"""The terminals for any text and for none."""
SPACE_CLASS = r"[\s\x1c-\x1f]"
"""What the parsers pass over as white space."""
PATH = "// from "
"""Begins the line before a rule: what part of the request the rule is made from."""
RULE = re.compile(r"[rTl][0-9]+(\[lazy\])?: ")
"""Begins a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A tool that may be called."""

    name: str
    schema: Schema
    """What its arguments, an object, are held to."""
    path: str
    """Where that schema stands in the request."""
    lenient: bool = False
    """Whether keywords that cannot be enforced are left to the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One way in which calls begin, and what must follow; the expressions are those of Lark's grammars."""

    mark: str
    """The text that begins a call; empty for a way in which only forced calls are written."""
    rest: str
    """What follows the mark, to the end of the call: an expression."""
    between: str | None = None
    """What stands between one call and the mark of the next: an expression. None: the calls are in `rest`, all."""
    first: bool = False
    """Whether this begins a call only where an answer begins."""
    more: tuple[str, ...] = ()
    """Texts that would begin one more call right after `rest`, which has all of them."""


class Rules:
    """The rules of a grammar, gathered one by one."""

    def __init__(self, write: MarkWriter) -> None:
        self._write = write
        self._lines: list[str] = []
        self._names: dict[str, str] = {}

    def mark(self, mark: str) -> str:
        """The expression for a text that the format writes."""
        return " ".join(self._write(mark))

    def spelled(self, mark: str) -> bool:
        """Whether the vocabulary has no token of its own for any part of the text."""
        return self.mark(mark) == text(mark)

    def upto(self, before: str, mark: str) -> str:
        """The expression for text, a terminal, up to a mark, and the mark.

        Where the mark is text itself, the text before it ends with the first one.
        """
        pieces = self._write(mark)
        if self.spelled(mark):
            return self.lazy(self.terminal(f"{before} {text(mark)}"))
        if pieces[0].startswith("<"):
            return f"{before} {self.mark(mark)}"
        return " ".join([self.terminal(f"{before} {pieces[0]}"), *pieces[1:]])

    def add(self, expression: str, path: str | None = None) -> str:
        """The name of a rule for the expression, which was made from what stands at `path` in the request."""
        return self._add("r", expression, path)

    def reserve(self) -> str:
        """The name of a rule that is defined later: of one that leads back to itself."""
        name = self._names[f"reserved {len(self._names)}"] = f"r{len(self._names)}"
        return name

    def define(self, name: str, expression: str) -> None:
        """The rule of a name that was reserved."""
        self._lines.append(f"{name}: {expression}")

    def terminal(self, expression: str, path: str | None = None) -> str:
        """The name of a terminal: a rule that is read as one regular expression."""
        return self._add("T", expression, path)

    def lazy(self, terminal: str) -> str:
        """The name of a rule for a terminal that ends as soon as it can."""
        return self._add("l", terminal, None, "[lazy]")

    def json(self, schema: Schema, path: str, *, lenient: bool = False) -> str:
        """The name of a rule for a JSON text that a schema accepts."""
        return self.add(constraint_expression(Constraint(json_schema=schema, lenient=lenient)), path)

    def _add(self, kind: str, expression: str, path: str | None, options: str = "") -> str:
        known = self._names.get(expression + options)
        if known is not None:
            return known
        name = self._names[expression + options] = f"{kind}{len(self._names)}"
        if path is not None:
            self._lines.append(f"{PATH}{path}")
        self._lines.append(f"{name}{options}: {expression}")
        return name

    def __str__(self) -> str:
        return "\n".join(self._lines)


@dataclass(frozen=True, slots=True)
class Calls:
    """What calls an answer may hold, and the rules that they are written with."""

    tools: Sequence[Called]
    parallel: bool
    """Whether there may be several."""
    rules: Rules
    template: str = ""
    """The source of the model's chat template, which shows which of several ways it was taught."""
    spare: bool = False
    """Whether tools whose calls cannot be written are left out; else they are an error."""

    def mark(self, text: str) -> str:
        """The expression for a text that the format writes."""
        return self.rules.mark(text)

    def each(self, write: Callable[[Called], str]) -> str:
        """The expression for a call of any of the tools.

        Raises:
            ApiError: one of them cannot be written so, and calls are to be.
        """
        written = []
        for tool in self.tools:
            try:
                written.append(write(tool))
            except ApiError:
                if not self.spare:
                    raise
        return one_of(written or [NOTHING])

    def taught(self, is_taught: bool) -> Calls:
        """The same for one of several ways: if it is not the one that the model was taught, it may do without tools."""
        return replace(self, spare=not is_taught)

    def arguments(self, tool: Called) -> str:
        """The expression for a tool's arguments as a JSON object."""
        return self.rules.json(tool.schema, tool.path, lenient=tool.lenient)

    def objects(self, name: str = "name", arguments: str = "arguments", *, opened: bool = False) -> str:
        """The expression for a call as a JSON object of a name and arguments, under these keys.

        `opened`: without the brace that it begins with.
        """
        brace = "" if opened else "{"
        return self.each(
            lambda tool: (
                f"{text(f'{brace}{json.dumps(name)}: {json.dumps(tool.name)}, {json.dumps(arguments)}: ')}"
                f' {self.arguments(tool)} "}}"'
            )
        )

    def several(self, call: str, between: str) -> str:
        """The expression for one call, or for as many as there may be."""
        one = self.rules.add(call)
        return f"{one} ({between} {one})*" if self.parallel else one


def text(literal: str) -> str:
    """The expression for a text as it stands."""
    return json.dumps(literal, ensure_ascii=False)


def one_of(expressions: Iterable[str]) -> str:
    """The expression for any of some."""
    return f"({' | '.join(expressions)})"


def escaped(literal: str) -> str:
    """A text as part of a regular expression between slashes."""
    return re.escape(literal).replace("/", r"\/").replace("\\\n", r"\n")
