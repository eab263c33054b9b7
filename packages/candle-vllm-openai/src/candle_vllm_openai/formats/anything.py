"""Any format whose marks are plain: for text of a model that nothing is known of."""

from __future__ import annotations

from ..scanner import Scanner, Steps
from . import deepseek, gemma, glm, harmony, listed, llama, minimax, mistral, pythonic, qwen, qwen_coder
from .calls import call_object, call_objects, closed, marked
from .calls import listed as list_of
from .format import Format, Offered

OPENING, CLOSING = qwen.OPENING, qwen.CLOSING

_OBJECT, _OBJECTS = call_object(bare=True), call_objects(CLOSING)


def tool_call(scan: Scanner, offered: Offered) -> Steps[None]:
    """Behind `<tool_call>`: JSON, a function's element, or a name and elements."""
    first = yield from scan.peek()
    if first in "{[":
        yield from _OBJECTS(scan, offered)
    elif first == "<":
        yield from qwen_coder.body(scan, offered)
    else:
        yield from glm.body(scan, offered)


def first(scan: Scanner, offered: Offered) -> Steps[None]:
    """Calls that are the whole answer: one in JSON, or a list in JSON or in Python."""
    if (yield from scan.peek()) != "[":
        yield from _OBJECT(scan, offered)
        return
    scan.take(1)
    one = _OBJECT if (yield from scan.peek()) == "{" else pythonic.python_call
    yield from list_of(scan, offered, one)


ANYTHING = Format(
    name="auto",
    grammar=marked(
        {
            OPENING: closed(tool_call, CLOSING),
            **deepseek.BODIES,
            **mistral.BODIES,
            **minimax.BODIES,
            **gemma.BODIES,
            **pythonic.BODIES,
            **llama.BODIES,
            qwen_coder.FUNCTION: closed(qwen_coder.function, CLOSING),
            **listed.BODIES,
            **harmony.BODIES,
        },
        first,
    ),
)
