"""What a chat template has a place for, found out by rendering small conversations with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from .arguments import Arguments
from .errors import ApiError

Data: TypeAlias = dict[str, Any]
Render: TypeAlias = Callable[[Mapping[str, Any]], str]
"""Renders a template with these variables.

Raises:
    ApiError: it cannot.
"""

NEEDLE = "qZjvKxW"
"""A text that no template writes of its own accord."""
SHORT_ID = "aB3dE6gH9"
"""Mistral's templates take ids of nine letters and digits only."""
OTHER_ID = "hG6eD3bA1"
LONG_ID = "call_0123456789abcdef"
_UNDESCRIBED: Data = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
_NOTHING: tuple[Data, ...] = ({"content": ""}, {"content": None})
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a template has a place for."""

    system: bool = True
    """Messages of role system."""
    repeats: bool = True
    """Whether two messages of the user may follow each other."""
    tools: Literal["variable", "message"] | None = "variable"
    """Where it looks for the tools: in a variable of its own, or in the system message; None if it does not."""
    bare_tools: bool = True
    """Whether a tool may leave out its description and its parameters."""
    bare_parameters: bool = True
    """Whether a parameter may leave out its description."""
    calls: bool = True
    """Calls of tools by the assistant, and their results."""
    many_calls: bool = True
    """Whether a message may have several calls."""
    long_ids: bool = True
    """Whether ids of calls may be of any length."""
    null_content: bool = True
    """Whether a message of calls alone may have none for its content."""
    lists: frozenset[str] = frozenset()
    """Roles whose contents may be lists of parts."""
    texts: frozenset[str] = frozenset(ROLES)
    """Roles whose contents may be texts."""
    thoughts: Literal["field", "part"] = "field"
    """Whether reasoning stands in a field of a message or is a part of its content."""
    thoughts_beside_content: bool = True
    """Whether a message of calls may have both reasoning and content."""


def abilities_of(render: Render) -> Abilities:
    """What a template has a place for; everything, if it does not even render a question."""
    probe = next((probe for probe in (_Probe(render), _Probe(render, tools=[_tool("f")])) if probe.works()), None)
    if probe is None:
        return Abilities()
    texts = frozenset(role for role in ROLES if probe.takes(role, NEEDLE))
    lists = frozenset(role for role in ROLES if probe.takes(role, [_part(NEEDLE)]))
    found = Abilities(texts=texts, lists=lists, system="system" in texts | lists)
    probe = replace(probe, parts="user" not in texts)
    found = replace(
        found,
        repeats=probe.repeats(),
        tools=probe.place_of_tools(),
        bare_tools=probe.takes_tool({}),
        bare_parameters=probe.takes_tool({"description": "x", "parameters": _UNDESCRIBED}),
    )
    long_ids, null_content = probe.shows(probe.called(LONG_ID)), probe.takes_null()
    calls = long_ids or null_content or probe.shows(probe.called(SHORT_ID))
    return replace(
        found,
        calls=calls and "tool" in texts | lists,
        many_calls=probe.called_twice() or not calls,
        long_ids=long_ids or not probe.shows(probe.called(SHORT_ID)),
        null_content=null_content or not calls,
        thoughts="field" if probe.thinks_in_field() or not probe.thinks_in_parts() else "part",
        thoughts_beside_content=probe.holds_both() or not calls,
    )


@dataclass(frozen=True, slots=True)
class _Probe:
    render: Render
    parts: bool = False
    """Whether a user's content has to be a list."""
    tools: list[Data] | None = None
    """Those of a question without tools: some templates are for questions with tools only."""

    def works(self) -> bool:
        return any(self.shows(self.asked(_user(content))) for content in (NEEDLE, [_part(NEEDLE)]))

    def asked(self, *messages: Data, tools: list[Data] | None = None) -> str:
        """What becomes of these messages; nothing if the template refuses them."""
        try:
            return self.render({"messages": list(messages), "tools": tools or self.tools})
        except ApiError:
            return ""

    def shows(self, prompt: str) -> bool:
        """Whether a prompt has the needle as it was, and no Python or JSON around it."""
        return NEEDLE in prompt and not re.search(rf"['\"](text|thinking)['\"]: ?['\"]{NEEDLE}", prompt)

    def takes(self, role: str, content: Any) -> bool:
        ask = _user("x")
        probes: dict[str, tuple[Data, ...]] = {
            "user": (_user(content),),
            "system": ({"role": "system", "content": content}, ask),
            "assistant": (ask, {"role": "assistant", "content": content}, ask),
            "tool": (ask, _calling(SHORT_ID, name="f"), _result(SHORT_ID, content)),
        }
        if self.shows(self.asked(*probes[role], tools=[_tool("f")])):
            return True
        return role != "user" and self.shows(self.asked(*probes[role][:1], _user([_part("x")]), *probes[role][2:]))

    def repeats(self) -> bool:
        """Whether the user may speak twice."""
        return self.shows(self.asked(self._ask(), _user([_part(NEEDLE)] if self.parts else NEEDLE)))

    def place_of_tools(self) -> Literal["variable", "message"] | None:
        tools = [_tool(NEEDLE)]
        if NEEDLE in self.asked(self._ask(), tools=tools):
            return "variable"
        holder: Data = {"role": "system", "content": "", "tools": tools}
        return "message" if NEEDLE in self.asked(holder, self._ask()) else None

    def takes_tool(self, function: Data) -> bool:
        """Whether it takes a tool like this one, if it takes any."""
        tools: list[Data] = [{"type": "function", "function": {"name": NEEDLE} | function}]
        return NEEDLE in self.asked(self._ask(), tools=tools) or self.place_of_tools() != "variable"

    def called(self, call_id: str, content: str | None = "", thinking: str | None = None) -> str:
        call = _calling(call_id, name=NEEDLE) | {"content": content}
        if thinking is not None:
            call |= dict.fromkeys(("reasoning_content", "reasoning", "thinking"), thinking)
        return self.asked(self._ask(), call, _result(call_id, "x"), tools=[_tool("f")])

    def called_twice(self) -> bool:
        calls = [*_calling(SHORT_ID, name="f")["tool_calls"], *_calling(OTHER_ID, name=NEEDLE)["tool_calls"]]
        results = [_result(SHORT_ID, "x"), _result(OTHER_ID, "x")]
        message: Data = {"role": "assistant", "content": "", "tool_calls": calls}
        prompts = (self.asked(self._ask(), message | content, *results, tools=[_tool("f")]) for content in _NOTHING)
        return any(map(self.shows, prompts))

    def takes_null(self) -> bool:
        null, empty = self.called(SHORT_ID, content=None), self.called(SHORT_ID)
        return self.shows(null) and null.count("None") <= empty.count("None")

    def holds_both(self) -> bool:
        both = self.called(SHORT_ID, content="x", thinking="x")
        return self.shows(both) or not self.shows(self.called(SHORT_ID, content="x"))

    def thinks_in_field(self) -> bool:
        fields = dict.fromkeys(("reasoning_content", "reasoning", "thinking"), NEEDLE)
        call = _calling(SHORT_ID, name="f") | fields
        return NEEDLE in self.asked(self._ask(), call, _result(SHORT_ID, "x"), tools=[_tool("f")])

    def thinks_in_parts(self) -> bool:
        content = [{"type": "thinking", "thinking": NEEDLE}, _part("x")]
        return self.shows(self.asked(self._ask(), {"role": "assistant", "content": content}, self._ask()))

    def _ask(self) -> Data:
        return _user([_part("x")] if self.parts else "x")


def _user(content: Any) -> Data:
    return {"role": "user", "content": content}


def _part(text: str) -> Data:
    return {"type": "text", "text": text}


def _tool(name: str) -> Data:
    parameters = {"type": "object", "properties": {"a": {"type": "string", "description": "x"}}, "required": ["a"]}
    return {"type": "function", "function": {"name": name, "description": "x", "parameters": parameters}}


def _calling(call_id: str, name: str) -> Data:
    function = {"name": name, "arguments": Arguments({"a": "x"}, '{"a": "x"}')}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def _result(call_id: str, content: Any) -> Data:
    return {"role": "tool", "tool_call_id": call_id, "name": "f", "content": content}
