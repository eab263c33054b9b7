"""The entries of a checkpoint's config.json, read with defaults and bounds. No torch here."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from ..errors import ModelLoadError

Value = TypeVar("Value")

MAX_LAYERS = 4096
MAX_HEADS = 4096
MAX_HEAD_DIM = 1024
MAX_WIDTH = 2**24
MAX_POSITION = 2**31 - 1
MAX_EXPERTS = 4096
MAX_NUMBERS = 65536
SAYS_NOTHING: tuple[object, ...] = (None, False, "", [], {})
"""Values of a field that nobody reads; 0 is among them, being equal to false."""
TOOLS_OWN = ("_", "unsloth_")
"""Beginnings of the names of fields that tools write for themselves."""
MOST_NAMED = 8
LAYER_TYPES = ("full_attention", "sliding_attention", "linear_attention", "chunked_attention")


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def shown(value: object) -> str:
    """A value as an error shows it, cut short."""
    return _SHORT.repr(value)


class Fields:
    """One table of config.json; every reader checks what it reads and names the field that is wrong.

    Raises:
        ModelLoadError: from every reader, with what was found and what is allowed.
    """

    def __init__(self, table: Mapping[str, Any], where: str = "config.json", *, length: int | None = None) -> None:
        self._table = table
        self._where = where
        self._asked: set[str] = set()
        self.length = length
        """The longest sequence that will be asked for, where the config leaves it to that; None: as long as it goes."""

    def __contains__(self, name: str) -> bool:
        return self._get(name) is not None

    def _get(self, name: str) -> Any:
        self._asked.add(name)
        return self._table.get(name)

    def refuse_others(self, known: Collection[str]) -> None:
        """Refuse every entry that nobody has read and that is not `known`, unless it says nothing."""
        unknown = [
            str(name)
            for name, value in self._table.items()
            if name not in self._asked
            and name not in known
            and not name.startswith(TOOLS_OWN)
            and value not in SAYS_NOTHING
        ]
        if unknown:
            names = sorted(unknown)
            said = ", ".join(f"`{shown(name)[1:-1]}`" for name in names[:MOST_NAMED])
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            raise ModelLoadError(
                f"{self._where}: this version does not know {said}{more}; what changes nothing can be taken out",
                names[:64],
            )

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """An integer; absent or null it is `default`, or an error if there is none."""
        value = self._get(name)
        if value is None:
            return self._default(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name, f"an integer from {low} to {high}")
        return value

    def integer_or_none(self, name: str, low: int, high: int, absent: int | None) -> int | None:
        """An integer where null has a meaning of its own; a field that is not there is `absent`."""
        if name in self._table and self._get(name) is None:
            return None
        return absent if name not in self._table else self.integer(name, low, high)

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number; absent or null it is `default`, or an error if there is none."""
        value = self._get(name)
        if value is None:
            return self._default(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.wrong(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def number_or_none(self, name: str, low: float, high: float, absent: float | None) -> float | None:
        """A number where null has a meaning of its own; a field that is not there is `absent`."""
        if name in self._table and self._get(name) is None:
            return None
        return absent if name not in self._table else self.number(name, low, high)

    def numbers(self, name: str, low: float, high: float) -> tuple[float, ...]:
        """A list of finite numbers."""
        value = self._get(name)
        if not isinstance(value, list) or not 0 < len(value) <= MAX_NUMBERS:
            raise self.wrong(name, "a list of numbers")
        return tuple(Fields({name: entry}, self._where).number(name, low, high) for entry in value)

    def integers(self, name: str, low: int, high: int) -> tuple[int, ...]:
        """A list of integers; absent or null it is empty."""
        value = self._get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > MAX_NUMBERS:
            raise self.wrong(name, "a list of integers")
        return tuple(Fields({name: entry}, self._where).integer(name, low, high) for entry in value)

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def word(self, name: str, known: Collection[str], default: str | None = None) -> str:
        """One of the words that this version knows."""
        value = self._get(name)
        if value is None:
            return self._default(name, default)
        if not isinstance(value, str) or value not in known:
            raise self.wrong(name, f"one of {', '.join(sorted(known))}, which are what this version knows")
        return value

    def words(self, name: str, known: Collection[str], length: int) -> Sequence[str] | None:
        """A list of `length` known words, or None where there is none."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != length or any(word not in list(known) for word in value):
            raise self.wrong(name, f"a list of {length} words out of {', '.join(sorted(known))}")
        return value

    def table(self, name: str) -> Mapping[str, Any]:
        """A table inside this one; empty where there is none."""
        value = self._get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(name, "a table")
        return value

    def leave(self, *names: str) -> None:
        """Leave entries unread that are no part of the language model."""
        self._asked.update(names)

    def filled(self, entries: Mapping[str, Any]) -> Fields:
        """The same table with these entries instead of its own; what is read of it counts as read here."""
        filled = Fields({**self._table, **entries}, self._where, length=self.length)
        filled._asked = self._asked
        return filled

    def refuse(self, name: str, harmless: Collection[object], reason: str) -> None:
        """Refuse a field that this version would have to ignore, unless its value changes nothing."""
        value = self._get(name)
        if value is not None and value not in list(harmless):
            raise ModelLoadError(f"{self._where}: `{name}` is {shown(value)}; {reason}", [name])

    def wrong(self, name: str, allowed: str) -> ModelLoadError:
        """The error for a field with an impossible value."""
        found = shown(self._table.get(name))
        return ModelLoadError(f"{self._where}: `{name}` is {found}; it must be {allowed}", [name])

    def _default(self, name: str, default: Value | None) -> Value:
        if default is None:
            raise ModelLoadError(f"{self._where} has no `{name}`, which every checkpoint of this kind has", [name])
        return default
