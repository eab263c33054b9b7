"""A request's messages and tools as its chat template takes them.

What a template has no place for is said in another way, so that nothing is lost: tools in the system message, calls as
JSON, results and what the system says as the user's words.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .abilities import Abilities, Data
from .arguments import read_arguments
from .types.messages import Message
from .types.tools import Tool, ToolCall

SEPARATOR = "\n\n"
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""The names under which templates look for reasoning."""

TOOLS_TEXT = "You can call tools. Each line describes one of them in JSON:\n\n{tools}\n\n{how}"
CALL_AS_TRAINED = "Call them the way you have been trained to."
CALL_AS_JSON = (
    'To call a tool, answer with a JSON object and nothing else: {"name": "NAME", "arguments": {"PARAMETER": VALUE}}. '
    "To call several at once, answer with a JSON list of such objects."
)
RESULT_TEXT = "Result of the tool {name}:\n{content}"


_OBJECT: Data = {"type": "object", "properties": {}}

SYSTEM = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class _Entry:
    data: Data
    moved: bool = False
    """Whether it was no user's message."""


class Dialogue:
    """Writes the conversation of a request for a template with these abilities.

    `knows_developer`: the template knows the role; else a developer is a system. `in_json`: a model that is told of
    tools in the system message is asked to write calls as JSON.
    """

    def __init__(self, abilities: Abilities, *, knows_developer: bool, in_json: bool) -> None:
        self._can = abilities
        self._knows_developer = knows_developer
        self._how = CALL_AS_JSON if in_json else CALL_AS_TRAINED

    def write(self, messages: Sequence[Message], tools: Sequence[Tool]) -> dict[str, Any]:
        """The variables `messages` and `tools`."""
        described = [self._tool(tool) for tool in tools]
        names = {call.id: call.function.name for message in messages for call in message.tool_calls or ()}
        apart = messages if self._can.many_calls else _one_by_one(messages)
        entries = [self._entry(message, names) for message in apart]
        if self._can.tools != "variable" and described:
            entries, described = self._telling_of(described, entries), []
        if not self._can.system:
            entries = [_as_user(entry) if entry.data["role"] in SYSTEM else entry for entry in entries]
        return {"messages": self._together(entries), "tools": described or None}

    def _entry(self, message: Message, names: dict[str, str]) -> _Entry:
        if self._can.calls:
            return _Entry(self._message(message, names))
        if message.role == "tool":
            name = names.get(message.tool_call_id or "", message.name)
            return _Entry({"role": "user", "content": RESULT_TEXT.format(name=name, content=message.text)}, moved=True)
        written = self._message(message, names)
        if message.tool_calls:
            written["content"] = _joined(written["content"], _calls_as_json(message.tool_calls))
        return _Entry(written)

    def _message(self, message: Message, names: dict[str, str]) -> Data:
        role = "system" if message.role == "developer" and not self._knows_developer else message.role
        written: Data = {"role": role, "content": self._content(message, role)}
        name = names.get(message.tool_call_id or "") if message.name is None else message.name
        if name is not None:
            written["name"] = name
        if message.tool_call_id is not None:
            written["tool_call_id"] = self._id(message.tool_call_id)
        if message.tool_calls and self._can.calls:
            written["tool_calls"] = [self._call(call) for call in message.tool_calls]
        if message.thoughts:
            self._think(written, message.thoughts)
        return written

    def _content(self, message: Message, role: str) -> Any:
        if message.tool_calls and not message.text:
            return None if self._can.null_content and self._can.calls else ""
        role = "system" if role == "developer" else role
        takes_list, takes_text = role in self._can.lists, role in self._can.texts
        if takes_list and isinstance(message.content, list):
            return [_part(part.plain) for part in message.content]
        text = message.text or ""
        return [_part(text)] if takes_list and not takes_text else text

    def _think(self, written: Data, thoughts: str) -> None:
        content = written["content"]
        if self._can.thoughts == "part" and "assistant" in self._can.lists:
            written["content"] = [{"type": "thinking", "thinking": thoughts}, *_parts(content)]
            return
        if content and "tool_calls" in written and not self._can.thoughts_beside_content:
            thoughts, written["content"] = _joined(thoughts, content), ""
        written.update(dict.fromkeys(THOUGHTS, thoughts))

    def _tool(self, tool: Tool) -> Data:
        function = tool.function.model_dump(exclude_none=True)
        if not self._can.bare_tools:
            function |= {"description": function.get("description", "")}
            function |= {"parameters": _OBJECT | function.get("parameters", {})}
        if not self._can.bare_parameters and "parameters" in function:
            function["parameters"] = _described(function["parameters"])
        return {"type": tool.type, "function": function}

    def _call(self, call: ToolCall) -> Data:
        function = {"name": call.function.name, "arguments": read_arguments(call.function.arguments)}
        return {"id": self._id(call.id), "type": call.type, "function": function}

    def _id(self, call_id: str) -> str:
        if self._can.long_ids or re.fullmatch("[a-zA-Z0-9]{9}", call_id):
            return call_id
        return hashlib.sha256(call_id.encode()).hexdigest()[:9]

    def _telling_of(self, tools: Sequence[Data], entries: list[_Entry]) -> list[_Entry]:
        """The messages with the tools in the first of them, of role system."""
        system: Data = {"role": "system", "content": ""}
        if entries[0].data["role"] in SYSTEM:
            system, entries = entries[0].data, entries[1:]
        if self._can.tools == "message":
            return [_Entry(system | {"tools": list(tools)}), *entries]
        lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        text = TOOLS_TEXT.format(tools=lines, how=self._how)
        return [_Entry(system | {"content": _joined(system["content"], text)}), *entries]

    def _together(self, entries: Iterable[_Entry]) -> list[Data]:
        """The messages; what became the user's is one with the user's beside it, and all of it if turns must change."""
        together: list[_Entry] = []
        for entry in entries:
            last = together[-1] if together else None
            if last is None or not last.data["role"] == entry.data["role"] == "user":
                together.append(entry)
            elif entry.moved or last.moved or not self._can.repeats:
                content = _joined(last.data["content"], entry.data["content"])
                together[-1] = _Entry(last.data | entry.data | {"content": content}, moved=entry.moved or last.moved)
            else:
                together.append(entry)
        return [entry.data for entry in together]


def _described(parameters: Data) -> Data:
    """A schema whose properties all have a description."""
    properties = parameters.get("properties")
    if not isinstance(properties, dict):
        return parameters
    described = {
        name: schema | {"description": schema.get("description", "")} if isinstance(schema, dict) else schema
        for name, schema in properties.items()
    }
    return parameters | {"properties": described}


def _one_by_one(messages: Iterable[Message]) -> Iterator[Message]:
    """Every call in a message of its own, its result behind it; what was said with them stands before the first."""
    calls: dict[str, ToolCall] = {}
    spoken: Message | None = None
    for message in messages:
        if message.tool_calls:
            calls, spoken = {call.id: call for call in message.tool_calls}, message
            continue
        if message.role == "tool":
            alone = [calls[message.tool_call_id or ""]]
            yield (
                spoken.model_copy(update={"tool_calls": alone}) if spoken else Message.assistant_with_tool_calls(alone)
            )
            spoken = None
        yield message


def _as_user(entry: _Entry) -> _Entry:
    return _Entry({"role": "user", "content": entry.data["content"]}, moved=True)


def _calls_as_json(calls: Sequence[ToolCall]) -> str:
    texts = [_call_as_json(call.function.name, call.function.arguments or "{}") for call in calls]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _call_as_json(name: str, arguments: str) -> str:
    return f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": {arguments}}}'


def _part(text: str) -> Data:
    return {"type": "text", "text": text}


def _parts(content: Any) -> list[Data]:
    if isinstance(content, list):
        return content
    return [_part(content)] if content else []


def _joined(content: Any, more: Any) -> Any:
    if isinstance(content, list) or isinstance(more, list):
        return [*_parts(content), *_parts(more)]
    return f"{content}{SEPARATOR}{more}" if content and more else content or more
