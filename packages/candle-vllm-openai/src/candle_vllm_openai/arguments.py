"""`Arguments`: a call's arguments, an object for templates that read them and a text for those that join them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .errors import ApiError
from .parse import check_json


class Arguments(dict[str, Any]):
    """The arguments of a tool call: the object, which as a text is what the model wrote, letter for letter."""

    def __init__(self, value: dict[str, Any], written: str) -> None:
        super().__init__(value)
        self._written = written

    def __str__(self) -> str:
        return self._written

    def __add__(self, other: str) -> str:
        return self._written + other

    def __radd__(self, other: str) -> str:
        return other + self._written

    def mapped(self, change: Callable[[Any], Any], spell: Callable[[str], str]) -> Arguments:
        """The same arguments with the object changed by one function and the text by another."""
        return Arguments(change(dict(self)), spell(self._written))


def read_arguments(written: str) -> Arguments | str:
    """The arguments that a JSON text holds; the text itself where it is no object, or one that no JSON can hold."""
    if not written.strip():
        return Arguments({}, "{}")
    try:
        value = json.loads(written)
        check_json(value)
    except (ValueError, RecursionError, ApiError):
        return written
    return Arguments(value, written) if isinstance(value, dict) else written
