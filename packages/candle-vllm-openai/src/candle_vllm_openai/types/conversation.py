"""What the messages of a conversation say of each other: every tool call is answered, every answer has its call."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import shown
from .messages import Message
from .strict import invalid


def check_calls(messages: Sequence[Message]) -> None:
    """Refuse what OpenAI refuses: a result without its call, a second one, and calls that are left without any."""
    open_calls: set[str] = set()
    answered: set[str] = set()
    caller: int | None = None
    for index, message in enumerate(messages):
        if message.role == "tool":
            _check_result(message, index, caller, open_calls, answered)
            continue
        _check_answered(open_calls, caller)
        caller, answered = None, set()
        if message.tool_calls:
            caller = index
            open_calls = {call.id for call in message.tool_calls}
            if len(open_calls) < len(message.tool_calls):
                raise invalid("has two calls of one id; ids are unique", f"messages[{index}].tool_calls")
    _check_answered(open_calls, caller)


def _check_result(message: Message, index: int, caller: int | None, open_calls: set[str], answered: set[str]) -> None:
    call_id = message.tool_call_id or ""
    place = f"messages[{index}].tool_call_id"
    if caller is None:
        reason = "is tool, and no message with `tool_calls` stands before it; a result follows its call"
        raise invalid(reason, f"messages[{index}].role")
    if call_id in answered:
        raise invalid(f"is {shown(call_id)}, and that call has its result already", place)
    if call_id not in open_calls:
        raise invalid(f"is {shown(call_id)}, which is not among the `tool_calls` of messages[{caller}]", place)
    open_calls.remove(call_id)
    answered.add(call_id)


def _check_answered(open_calls: set[str], caller: int | None) -> None:
    if open_calls:
        left = shown(sorted(open_calls))
        reason = f"have no results for {left}; a message of role tool has to follow for each call"
        raise invalid(reason, f"messages[{caller}].tool_calls")
