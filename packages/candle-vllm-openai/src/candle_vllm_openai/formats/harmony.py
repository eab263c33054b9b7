"""gpt-oss: messages on channels, `<|channel|>analysis<|message|>...<|end|>`; calls go `to=functions.name`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..scanner import Grammar, Malformed, Scanner, Steps, Text
from .calls import Body, begin
from .enforced import ANY, ANY_CHARS, Called, Calls, Rules, escaped, one_of, text
from .format import Format, Offered

START, CHANNEL, MESSAGE, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
END, CALL, RETURN = "<|end|>", "<|call|>", "<|return|>"
ENDS = (END, RETURN)
MAX_HEADER_CHARS = 512

_HEADER = re.compile(
    r"(?:<\|start\|>)?\s*(?:assistant)?\s*(?:to=(?P<to>[^\s<]+))?\s*(?:<\|channel\|>\s*(?P<channel>\w+))?\s*"
    r"(?:to=(?P<also_to>[^\s<]+))?\s*(?:<\|constrain\|>)?\s*\w*\s*"
)


def harmony(offered: Offered) -> Grammar:
    """One message after the other; what stands outside of them is text."""

    def grammar(scan: Scanner) -> Steps[None]:
        yield from scan.ahead()
        if (yield from scan.starts("to=")):
            yield from scan.attempt(message()(scan, offered))
        while (mark := (yield from scan.prose(*BODIES))) is not None:
            yield from scan.attempt(BODIES[mark](scan, offered))

    return grammar


def message(begun: str = "") -> Body:
    """One message behind the mark that begins it; it is text, all of it, if it is on no channel."""

    def body(scan: Scanner, offered: Offered) -> Steps[None]:
        header = begun + (yield from scan.text(MESSAGE, limit=MAX_HEADER_CHARS, but=(START, CALL, *ENDS)))
        found = _HEADER.fullmatch(header)
        if found is None:
            raise Malformed("a message on no channel")
        recipient, channel = found["to"] or found["also_to"], found["channel"]
        if recipient is not None:
            yield from begin(scan, recipient.removeprefix("functions."), offered, stop="<|")
            yield from scan.closing(CALL, *ENDS)
        elif channel == "analysis":
            scan.forget()
            yield from scan.reasoning(*ENDS)
        elif channel in ("final", "commentary"):
            scan.forget()
            yield from scan.until(*ENDS, emit=Text)
            scan.forget()
        else:
            raise Malformed("a message on no channel")

    return body


BODIES: Mapping[str, Body] = {START: message(START), CHANNEL: message(CHANNEL)}


def framed(calls: Calls, form: str | None, must_call: bool) -> str:
    """Messages of reasoning, and of text too if its form is free; then the answer, or one call."""
    mark, rules = calls.mark, calls.rules
    channels = ["analysis"] if must_call or form is not None else ["analysis", "commentary"]
    message = rules.upto(_without(ENDS, rules), END)
    before = one_of(f"{mark(CHANNEL)} {text(channel)} {mark(MESSAGE)}" for channel in channels)

    def call(tool: Called) -> str:
        head = f'{text(f"commentary to=functions.{tool.name} ")} {mark(CONSTRAIN)} "json" {mark(MESSAGE)}'
        return f"{mark(CHANNEL)} {head} {calls.arguments(tool)}"

    answer = (
        f'{mark(CHANNEL)} "final" {mark(MESSAGE)} {_without((START, CHANNEL, *ENDS), rules) if form is None else form}'
    )
    ends = [*([] if must_call else [answer]), *([calls.each(call)] if calls.tools else [])]
    return f'({before} {message} {mark(START)} "assistant")* {one_of(ends)}'


def _without(marks: Sequence[str], rules: Rules) -> str:
    """The terminal for text without any of the marks in it."""
    either = "|".join(map(escaped, marks))
    return rules.terminal(f"{ANY} & ~/{ANY_CHARS}({either}){ANY_CHARS}/")


HARMONY = Format(
    name="harmony",
    grammar=harmony,
    marks=("<|channel|>",),
    families=("gptoss",),
    tokens=(START, CHANNEL, MESSAGE, CONSTRAIN, CALL, *ENDS),
    parallel=False,
    framed=framed,
    channels=True,
)
