"""Qwen 2 and Qwen-Agent: `✿FUNCTION✿: name`, then `✿ARGS✿: {...}`."""

from __future__ import annotations

from collections.abc import Sequence

from ..scanner import Scanner, Steps
from .calls import MAX_NAME_CHARS, begin, marked
from .enforced import Calls, Opening, text
from .format import Format, Offered

FUNCTION, ARGUMENTS, RETURN = "✿FUNCTION✿", "✿ARGS✿", "✿RETURN✿"


def call(scan: Scanner, offered: Offered) -> Steps[None]:
    """Behind the first mark."""
    yield from scan.expect(":")
    name = yield from scan.text(ARGUMENTS, limit=MAX_NAME_CHARS, but=(FUNCTION,))
    yield from scan.expect(":")
    yield from begin(scan, name.strip(), offered, stop=FUNCTION)


def answer(scan: Scanner, offered: Offered) -> Steps[None]:
    """Behind the mark before the answer, which is no content."""
    yield from scan.expect(":")
    scan.forget()


def enforced(calls: Calls) -> Sequence[Opening]:
    """The name and the arguments on a line each."""
    arguments = calls.mark(ARGUMENTS)
    call = calls.each(lambda tool: f'": " {text(tool.name)} "\\n" {arguments} ": " {calls.arguments(tool)}')
    return (Opening(mark=FUNCTION, rest=call, between='"\\n"'),)


FUNCTION_MARKS = Format(
    name="function_marks",
    grammar=marked({FUNCTION: call, RETURN: answer}),
    marks=(FUNCTION,),
    enforced=enforced,
)
