"""`Meter`: what one rendering may still take, and the price of what a template does, paid before it is done.

A template is a foreign program, and Python cannot stop one in the middle of an operation. So every operation that can
give something large is priced by what it will give, and one that the rendering cannot pay is not begun.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from .errors import ApiError

MAX_PROMPT_CHARS = 64 * 1024 * 1024
MAX_WORK = 256 * 1024 * 1024
"""Characters that a rendering may make in all, the prompt and what it is made of; every step costs one more."""
MAX_SECONDS = 10.0
TOO_LONG = "rendering_too_long"
"""The code of an error that says so."""
MAX_BITS = 4096
"""Of the integers that a template computes."""
ITEM_COST = 8
"""Of an entry of a list, in characters."""

_WIDE = re.compile(r"\d{5,}")
_NESTED_FIELD = re.compile(r"\{[^{}]*\{(?!\{)")


class Meter:
    """What is left of a rendering's time and work."""

    __slots__ = ("_deadline", "_left", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._left = MAX_WORK
        self._deadline = time.monotonic() + seconds

    def spend(self, amount: int = 1) -> None:
        """Pay for a step, and for as many characters.

        Raises:
            ApiError: the rendering takes too long or makes too much.
        """
        self._left -= amount + 1
        if self._left < 0 or time.monotonic() > self._deadline:
            raise ApiError(
                f"rendering the messages took more than {self.seconds:g} s or made more than {MAX_WORK} characters on "
                "the way; shorten them",
                code=TOO_LONG,
                param="messages",
            )


METER: ContextVar[Meter] = ContextVar("METER")
"""Of the rendering that is under way."""


def spend(amount: int = 1) -> None:
    """Pay from the meter of this rendering."""
    METER.get().spend(amount)


def paid(value: Any) -> Any:
    """`value`, paid for by its length."""
    if isinstance(value, str):
        spend(len(value))
    elif isinstance(value, list | tuple):
        spend(len(value) * ITEM_COST)
    else:
        spend()
    return value


def text_of(value: Any) -> str:
    """`value` as a text; a list or an object is paid for first."""
    if not isinstance(value, str):
        weigh(value)
        value = str(value)
    spend(len(value))
    return str(value)


def weigh(value: Any, *, chars: bool = True, indent: int = 0) -> int:
    """Pay for going through all that a value holds, once for each place where it stands; gives the price.

    `chars`: by the texts' lengths too. `indent`: how much each level is moved in.
    """
    if not isinstance(value, dict | list | tuple):
        return 0
    meter, places, total = METER.get(), [(value, 0)], 0
    while places:
        place, depth = places.pop()
        items = [*place, *place.values()] if isinstance(place, dict) else place
        price = (1 + indent * depth) * len(items)
        for item in items:
            if isinstance(item, str):
                price += len(item) if chars else 0
            elif isinstance(item, dict | list | tuple):
                places.append((item, depth + 1))
        meter.spend(price)
        total += price
    return total


def pay_operation(operator: str, left: Any, right: Any) -> None:
    """Pay for `left operator right`."""
    if operator == "%" and isinstance(left, str):
        _pay_layout(left, left.count("%"), list(right) if isinstance(right, tuple) else [right])
        if "*" in left:
            raise ValueError("a width that is an argument")
    elif isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        if operator != "+" and bits > MAX_BITS:
            raise ValueError(f"an integer of more than {MAX_BITS} bits")
    elif operator == "*":
        for items, times in ((left, right), (right, left)):
            if isinstance(items, str | list | tuple) and isinstance(times, int):
                spend(_length(items) * max(times, 0))
    elif operator == "+":
        spend(_length(left) + _length(right))


def pay_method(text: str, name: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> Sequence[Any]:
    """Pay for a method of a text; gives the arguments to call it with."""
    spend(len(text))
    match name, [*arguments, *named.values()]:
        case "replace", [str() as old, str() as new, *_]:
            pay_replacing(text, old, new)
        case "join", [items]:
            arguments = [list(items)]
            weigh(arguments[0])
            spend(len(text) * len(arguments[0]))
        case (("center" | "ljust" | "rjust" | "zfill"), [int() as width, *_]):
            spend(width)
        case "expandtabs", [int() as width]:
            spend(width * len(text))
        case (("strip" | "lstrip" | "rstrip" | "rfind" | "rindex" | "rpartition" | "rsplit"), [str() as part, *_]):
            spend(len(text) * len(part))
        case (("encode" | "striptags" | "translate"), _):
            raise ValueError(f"texts have no {name} here")
    return arguments


def pay_replacing(text: str, old: str, new: str) -> None:
    """Pay for putting `new` for every `old` in a text."""
    spend(max(len(text) + text.count(old) * (len(new) - len(old)), 0))


def pay_format(text: str, arguments: Sequence[Any]) -> None:
    """Pay for `text.format(...)`."""
    _pay_layout(text, text.count("{"), arguments)
    if _NESTED_FIELD.search(text):
        raise ValueError("a field within a field")


def pay_indent(text: str, width: Any) -> None:
    """Pay for moving every line of a text in."""
    spend((len(width) if isinstance(width, str) else int(width)) * (text.count("\n") + 1))


def check_width(width: Any, most: int) -> None:
    """Refuse a number of places, or a text to put there, that no template needs."""
    if (isinstance(width, int) and abs(width) > most) or (isinstance(width, str) and len(width) > most):
        raise ValueError(f"{width!r:.20} is too wide")


def metered(function: Callable[..., Any], price: Callable[[Sequence[Any], Mapping[str, Any]], None]) -> Any:
    """A filter or a test of Jinja that is paid for before and after; `price` gets its operands."""
    takes_context = getattr(function, "jinja_pass_arg", None) is not None

    def paying(*arguments: Any, **named: Any) -> Any:
        spend()
        price(arguments[takes_context:], named)
        return paid(function(*arguments, **named))

    if takes_context:
        vars(paying)["jinja_pass_arg"] = vars(function)["jinja_pass_arg"]
    return paying


def _pay_layout(layout: str, num_fields: int, arguments: Sequence[Any]) -> None:
    if _WIDE.search(layout):
        raise ValueError("a width of more than four digits")
    largest = sum(len(argument) if isinstance(argument, str) else weigh(argument) for argument in arguments)
    spend(len(layout) + num_fields * largest)


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    return len(value) * ITEM_COST if isinstance(value, list | tuple) else 0
