"""Values written as Python writes them, or nearly so, read as JSON piece by piece."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from json import dumps

from ..scanner import CallArguments, Event, Malformed, Scanner, Steps, Truncated
from .calls import decoded

MAX_NESTING = 64
MAX_WORD_CHARS = 400

_WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_ITEM_ENDS = (",", "]", "}")
_WORD_ENDS = (*_ITEM_ENDS, ")", ":", " ", "\n", "\t", "\r")
_ESCAPES = {
    **{"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v"},
    **{"\\": "\\", "'": "'", '"': '"', "/": "/", "\n": ""},
}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True, slots=True)
class Literals:
    """How values are written."""

    quotes: tuple[str, ...]
    """What stands around strings: of two with the same start, the longer one first."""
    escaping: tuple[str, ...]
    """Those of them between which a backslash begins an escape."""
    words: bool = False
    """Whether what is no number, truth or null is a string all the same, and a key needs no quotes."""

    def value(self, scan: Scanner, nesting: int = 0) -> Steps[None]:
        """One value, as JSON.

        Raises:
            Malformed: it is not written so.
        """
        if nesting > MAX_NESTING:
            raise Malformed(f"values nest deeper than {MAX_NESTING}")
        match (yield from scan.peek()):
            case "[":
                yield from self._items(scan, "[", "]", nesting)
            case "(":
                yield from self._items(scan, "(", ")", nesting)
            case "{":
                yield from self._mapping(scan, nesting)
            case _:
                yield from self._scalar(scan)

    def mapping(self, scan: Scanner, nesting: int = 0) -> Steps[None]:
        """What follows the opening brace of a mapping, to the closing one; its opening was told of."""
        before = ""
        while not (yield from scan.accept("}")):
            if before:
                yield from scan.expect(",")
                if (yield from scan.accept("}")):
                    break
            key = yield from self._key(scan)
            yield from scan.expect(":")
            yield CallArguments(f"{before}{dumps(key, ensure_ascii=False)}: ")
            before = ", "
            yield from self.value(scan, nesting + 1)
        yield CallArguments("}")

    def _mapping(self, scan: Scanner, nesting: int) -> Steps[None]:
        yield from scan.expect("{")
        yield CallArguments("{")
        yield from self.mapping(scan, nesting)

    def _items(self, scan: Scanner, opening: str, closing: str, nesting: int) -> Steps[None]:
        yield from scan.expect(opening)
        yield CallArguments("[")
        before = ""
        while not (yield from scan.accept(closing)):
            if before:
                yield from scan.expect(",")
                if (yield from scan.accept(closing)):
                    break
                yield CallArguments(before)
            before = ", "
            yield from self.value(scan, nesting + 1)
        yield CallArguments("]")

    def _scalar(self, scan: Scanner) -> Steps[None]:
        quote = yield from self._quote(scan)
        if quote:
            yield CallArguments('"')
            yield from self._string(scan, quote)
            yield CallArguments('"')
        else:
            ends = _ITEM_ENDS if self.words else _WORD_ENDS
            word, _ = yield from scan.upto(*ends, limit=MAX_WORD_CHARS)
            yield CallArguments(self.word(word.strip()))

    def _key(self, scan: Scanner) -> Steps[str]:
        yield from scan.peek()
        quote = yield from self._quote(scan)
        if not quote:
            if not self.words:
                raise Malformed("a key needs quotes")
            return (yield from scan.upto(":", limit=MAX_WORD_CHARS))[0].strip()
        parts: list[str] = []
        strings = self._string(scan, quote)
        for event in strings:
            if isinstance(event, CallArguments):
                parts.append(event.fragment)
            else:
                yield event
        return decoded(f'"{"".join(parts)}"')

    def _quote(self, scan: Scanner) -> Steps[str]:
        """The quote that comes next, taken; nothing if none does."""
        for quote in self.quotes:
            if (yield from scan.starts(quote)):
                scan.take(len(quote))
                return quote
        return ""

    def _string(self, scan: Scanner, quote: str) -> Steps[None]:
        """What stands before the closing quote, escaped as in JSON."""
        marks = (quote, "\\") if quote in self.escaping else (quote,)
        while (mark := (yield from scan.until(*marks, emit=_escaped))) != quote:
            if mark is None:
                raise Truncated(f"expected {quote!r}")
            yield CallArguments(dumps((yield from _escape(scan)))[1:-1])

    def word(self, word: str) -> str:
        """A value without quotes, as JSON.

        Raises:
            Malformed: it is none.
        """
        if word in _WORDS:
            return _WORDS[word]
        if _NUMBER.fullmatch(word):
            return word
        if (number := _python_number(word)) is not None:
            return number
        if not self.words or not word:
            raise Malformed(f"{word!r} is no value")
        return dumps(word, ensure_ascii=False)


_PLAIN = ('"', "'")
_TRIPLE = ('"""', "'''")
PYTHON = Literals(quotes=(*_TRIPLE, *_PLAIN), escaping=(*_TRIPLE, *_PLAIN))
"""Python's own."""


def _escape(scan: Scanner) -> Steps[str]:
    """What an escape behind a backslash stands for."""
    char = yield from scan.one()
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char in _HEX_DIGITS:
        digits = ""
        for _ in range(_HEX_DIGITS[char]):
            digits += yield from scan.one()
        return _char(digits, 16)
    if char in "01234567":
        return _char(char, 8)
    if char == "N":
        return (yield from _named(scan))
    return "\\" + char


def _named(scan: Scanner) -> Steps[str]:
    if (yield from scan.one()) != "{":
        raise Malformed("no character's name")
    name = yield from scan.text("}", limit=MAX_WORD_CHARS)
    try:
        return unicodedata.lookup(name)
    except KeyError as error:
        raise Malformed(f"no character is named {name!r}") from error


def _char(digits: str, base: int) -> str:
    try:
        return chr(int(digits, base))
    except (ValueError, OverflowError) as error:
        raise Malformed(f"{digits!r} is no character") from error


def _python_number(word: str) -> str | None:
    """A number that Python writes and JSON does not, as JSON."""
    try:
        return str(int(word, 0))
    except ValueError:
        pass
    try:
        number = float(word)
    except ValueError:
        return None
    return dumps(number) if abs(number) < float("inf") else None


def _escaped(part: str) -> Event:
    return CallArguments(dumps(part, ensure_ascii=False)[1:-1])
