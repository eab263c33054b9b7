"""Finding marks in text that is still arriving: one pass, and no more held back than may yet become a mark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

FENCES = ("```", "~~~")
JSON_QUOTED = re.compile(r'["\\]')
WORD_END = re.compile(r"[^\w.\-]")
NAME_END = re.compile(r"[^\w.:/\-]")
JSON_SCALAR_END = re.compile(r"[,\]}\s]")


@lru_cache(maxsize=64)
def json_open(stop: str) -> re.Pattern[str]:
    """What matters in JSON outside strings, and the character that a stop mark begins with."""
    return re.compile(rf'["{{}}\[\]{re.escape(stop)}]')


def value_end(text: str, at: int, closed: bool, depth: int, quoted: bool, stop: str) -> tuple[int, int, bool]:
    """How far a value goes in the text at hand, and how many brackets and whether a string are open there."""
    outside = json_open(stop[:1])
    while hit := (JSON_QUOTED if quoted else outside).search(text, at):
        at, char = hit.end(), hit[0]
        if char == "\\":
            if at == len(text):
                return (at if closed else at - 1), depth, quoted
            at += 1
        elif char == '"':
            quoted = not quoted
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
        elif text.startswith(stop, at - 1) or (stop.startswith(text[at - 1 : at - 1 + len(stop)]) and not closed):
            return at - 1, depth, quoted
        if not depth and not quoted:
            return at, depth, quoted
    return len(text), depth, quoted


class Marks:
    """A set of marks, as one pattern."""

    def __init__(self, marks: Sequence[str]) -> None:
        self._any = re.compile(_either(marks))
        self._start = re.compile(rf"(?:{_either([mark[:end] for mark in marks for end in range(1, len(mark))])})\Z")
        self._longest_start = max(map(len, marks)) - 1

    def find(self, text: str, at: int, closed: bool, room: int | None = None) -> tuple[int, str | None]:
        """Where the first mark from `at` on begins, and it; else where what may become one begins, and None.

        `room`: after how many characters it makes no difference any more whether there is one.
        """
        end = len(text) if room is None else at + room + self._longest_start + 1
        hit = self._any.search(text, at, end)
        if hit is None and end < len(text):
            return end, None
        place, mark = (len(text), None) if hit is None else (hit.start(), hit[0])
        if not closed and (tail := self._start.search(text, max(at, len(text) - self._longest_start))) is not None:
            # A mark that began no later, and has not ended yet, comes first.
            if tail.start() <= place:
                return tail.start(), None
        return place, mark


def _either(texts: Sequence[str]) -> str:
    return "|".join(map(re.escape, sorted(set(texts), key=len, reverse=True))) or "(?!)"


@lru_cache(maxsize=256)
def marks_of(marks: tuple[str, ...]) -> Marks:
    """The marks' pattern, made once."""
    return Marks(marks)
