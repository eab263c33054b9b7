"""gpt-oss: messages on channels, `<|channel|>analysis<|message|>...<|end|>`; calls go `to=functions.name`."""

from __future__ import annotations

import re

from ..scanner import Grammar, Malformed, Scanner, Steps, Text
from .calls import begin
from .format import Format, Offered

START, CHANNEL, MESSAGE, CONSTRAIN = "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"
END, CALL, RETURN = "<|end|>", "<|call|>", "<|return|>"
ENDS = (END, CALL, RETURN)
MAX_HEADER_CHARS = 512

_TO = re.compile(r"\bto=([^\s<]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")


def harmony(offered: Offered) -> Grammar:
    """One message after the other; what stands outside of them is text."""

    def grammar(scan: Scanner) -> Steps[None]:
        yield from scan.ahead()
        if (yield from scan.starts("to=")):
            yield from _one(scan, offered)
        while (mark := (yield from scan.prose(START, CHANNEL))) is not None:
            yield from _one(scan, offered, header=mark)

    return grammar


def _one(scan: Scanner, offered: Offered, header: str = "") -> Steps[None]:
    """One message, or what turns out to be none: then all of it is text."""
    yield from scan.attempt(_message(scan, offered, header))


def _message(scan: Scanner, offered: Offered, header: str) -> Steps[None]:
    header += yield from scan.text(MESSAGE, limit=MAX_HEADER_CHARS)
    recipient, channel = _TO.search(header), _CHANNEL.search(header)
    if recipient is not None:
        yield from begin(scan, recipient[1].removeprefix("functions."), offered, stop="<|")
        yield from scan.closing(*ENDS)
    elif channel is not None and channel[1] == "analysis":
        scan.forget()
        yield from scan.reasoning(*ENDS)
    elif channel is not None and channel[1] in ("final", "commentary"):
        scan.forget()
        yield from scan.until(*ENDS, emit=Text)
        scan.forget()
    else:
        raise Malformed("a message on no channel")


HARMONY = Format(
    name="harmony",
    grammar=harmony,
    marks=("<|channel|>",),
    families=("gptoss",),
    tokens=(START, CHANNEL, MESSAGE, CONSTRAIN, *ENDS),
    channels=True,
)
