"""Qwen 2 and Qwen-Agent: `✿FUNCTION✿: name`, then `✿ARGS✿: {...}`."""

from __future__ import annotations

from ..scanner import Scanner, Steps
from .calls import MAX_NAME_CHARS, begin, marked
from .format import Format, Offered

FUNCTION, ARGUMENTS, RETURN = "✿FUNCTION✿", "✿ARGS✿", "✿RETURN✿"


def call(scan: Scanner, offered: Offered) -> Steps[None]:
    """Behind the first mark."""
    yield from scan.expect(":")
    name = yield from scan.text(ARGUMENTS, limit=MAX_NAME_CHARS)
    yield from scan.expect(":")
    yield from begin(scan, name.strip(), offered, stop=FUNCTION)


def answer(scan: Scanner, offered: Offered) -> Steps[None]:
    """Behind the mark before the answer, which is no content."""
    yield from scan.expect(":")
    scan.forget()


FUNCTION_MARKS = Format(
    name="function_marks",
    grammar=marked({FUNCTION: call, RETURN: answer}),
    marks=(FUNCTION,),
)
