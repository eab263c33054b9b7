"""How calls are enforced: the calls that a format may write, as rules of a grammar (`Constraint.grammar`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from candle_vllm_core import Constraint, constraint_expression

Schema: TypeAlias = Mapping[str, Any]
"""A JSON schema."""
MarkWriter: TypeAlias = Callable[[str], str]
"""A text that a format writes → the expression for it: control tokens by their ids, the rest as it is spelled."""
PATH = "// from "
"""Begins the line before a rule: what part of the request the rule is made from."""


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
    """The text that begins a call."""
    rest: str
    """What follows the mark, to the end of the call: an expression."""
    between: str | None = None
    """What stands between one call and the mark of the next: an expression. None: the calls are in `rest`, all."""
    first: bool = False
    """Whether this begins a call only where an answer begins."""


class Rules:
    """The rules of a grammar, gathered one by one."""

    def __init__(self, mark: MarkWriter) -> None:
        self.mark = mark
        self._lines: list[str] = []
        self._names: dict[str, str] = {}

    def add(self, expression: str, path: str | None = None) -> str:
        """The name of a rule for the expression, which was made from what stands at `path` in the request."""
        return self._add("r", expression, path)

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

    def mark(self, text: str) -> str:
        """The expression for a text that the format writes."""
        return self.rules.mark(text)

    def each(self, write: Callable[[Called], str]) -> str:
        """The expression for a call of any of the tools."""
        return one_of(write(tool) for tool in self.tools)

    def arguments(self, tool: Called) -> str:
        """The expression for a tool's arguments as a JSON object."""
        return self.rules.json(tool.schema, tool.path, lenient=tool.lenient)

    def objects(self, name: str = "name", arguments: str = "arguments") -> str:
        """The expression for a call as a JSON object of a name and arguments, under these keys."""
        return self.each(
            lambda tool: (
                f"{text(f'{{{json.dumps(name)}: {json.dumps(tool.name)}, {json.dumps(arguments)}: ')}"
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
