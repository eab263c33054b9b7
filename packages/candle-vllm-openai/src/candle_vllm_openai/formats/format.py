"""`Format`: what is known of one way in which models write calls of tools, and `Offered`, the tools on offer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..scanner import Grammar
from .enforced import Calls, Opening, Schema
from .schema import choices_of_members, plain

__all__ = ["Format", "Offered", "Schema"]


_NAME = re.compile(r"[^\s<>{}()\[\]\"]+")


@dataclass(frozen=True, slots=True)
class Offered:
    """The tools on offer: the schema of each one's parameters by the tool's name. None: any name is one."""

    schemas: Mapping[str, Schema] | None = None

    def __contains__(self, name: str) -> bool:
        return bool(_NAME.fullmatch(name)) if self.schemas is None else name in self.schemas

    @property
    def any(self) -> bool:
        """Whether there is a tool that can be called."""
        return self.schemas is None or bool(self.schemas)

    def parameters(self, tool: str) -> Mapping[str, Any]:
        """The schemas of a tool's parameters by their names, as far as they are known."""
        known: dict[str, Any] = {}
        for way in choices_of_members((self.schemas or {}).get(tool, {})):
            known = way.properties | known
        return known

    def parameter(self, tool: str, name: str) -> Schema:
        """The schema of one parameter, with what it refers to in its place; empty where it is not known."""
        whole = (self.schemas or {}).get(tool, {})
        ways = [plain(way.properties.get(name, way.additional), whole) for way in choices_of_members(whole)]
        return ways[0] if len(ways) == 1 else {"anyOf": ways}


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way in which models write calls of tools."""

    name: str
    grammar: Callable[[Offered], Grammar]
    """How an answer with calls of these tools is read."""
    marks: tuple[str, ...] = ()
    """Texts in a chat template that show this format."""
    families: tuple[str, ...] = ()
    """Starts of the names of architectures whose models write it, in lower case, without `_` and `-`."""
    tokens: tuple[str, ...] = ()
    """Control tokens that must be decoded as text for the format to be seen."""
    parallel: bool = True
    """Whether one answer can hold several calls."""
    enforced: Callable[[Calls], Sequence[Opening]] | None = None
    """How calls begin in it, and the rules of what must follow; the first is the way in which forced calls are written.
    None: it has no calls."""
    framed: Callable[[Calls, str | None, bool], str] | None = None
    """How a whole answer is enforced where it is framed: the expression for calls and text in the given form, None if
    in any; and whether there have to be calls."""
    channels: bool = False
    """Whether the whole answer is framed, reasoning too: then it is read this way even without tools."""
