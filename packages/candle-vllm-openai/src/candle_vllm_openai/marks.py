"""Control marks inside untrusted text: hidden from the tokenizer, and left as they are for the template.

Before rendering, a sentinel is put in front of each control mark in the data; the template sees the text otherwise
unchanged, so that it may cut at a mark or trim around it. After rendering, a mark behind a sentinel is text, every
other one was written by the template.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from .arguments import Arguments
from .errors import ApiError

Json: TypeAlias = "str | int | float | bool | None | list[Json] | dict[str, Json]"

# Letters of Linear A: they are printable, so that no way of quoting a text escapes them, and nobody writes them.
SENTINELS = [chr(code) for code in range(0x10600, 0x10737)]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a prompt; `control_marks` says whether control marks in it are control tokens."""

    text: str
    control_marks: bool


class ControlMarks:
    """The texts that a tokenizer reads as control tokens."""

    def __init__(self, marks: Iterable[str]) -> None:
        longest_first = sorted(filter(None, marks), key=len, reverse=True)
        self._any = "|".join(map(re.escape, longest_first)) or "(?!)"
        self._mark = re.compile(self._any)

    def hide(self, data: dict[str, Json], template: str) -> tuple[dict[str, Json], str | None]:
        """The data with a sentinel before each mark, and that sentinel; None where there is no mark to hide.

        Raises:
            ApiError: every sentinel occurs in the data.
        """
        texts = list(_texts(data))
        if not any(self._mark.search(text) for text in texts):
            return data, None
        sentinel = _unused([template, *texts])
        return {name: self._behind(sentinel, value) for name, value in data.items()}, sentinel

    def pieces(self, prompt: str, sentinel: str | None) -> list[Piece]:
        """The rendered prompt without its sentinels, cut only where the template wrote a control mark."""
        if sentinel is None:
            return [Piece(prompt, True)]
        joined: list[Piece] = []
        for piece in self._cut(prompt, sentinel):
            if joined and joined[-1].control_marks and piece.control_marks:
                joined[-1] = Piece(joined[-1].text + piece.text, True)
            elif piece.text:
                joined.append(piece)
        return joined

    def _behind(self, sentinel: str, data: Json) -> Json:
        if isinstance(data, str):
            return self._spelt(sentinel, data)
        if isinstance(data, list):
            return [self._behind(sentinel, item) for item in data]
        if isinstance(data, Arguments):
            return data.mapped(lambda held: self._behind(sentinel, held), lambda text: self._spelt(sentinel, text))
        if isinstance(data, dict):
            return {str(self._behind(sentinel, key)): self._behind(sentinel, item) for key, item in data.items()}
        return data

    def _spelt(self, sentinel: str, text: str) -> str:
        return self._mark.sub(lambda found: sentinel + found[0], text)

    def _cut(self, prompt: str, sentinel: str) -> Iterator[Piece]:
        text, hidden = "", False
        for part in re.split(f"({sentinel}?(?:{self._any})|{sentinel})", prompt):
            if part.startswith(sentinel):
                text, hidden = text + part[1:], True
            elif self._mark.fullmatch(part):
                yield from (Piece(text, not hidden), Piece(part, True))
                text, hidden = "", False
            else:
                text += part
        yield Piece(text, not hidden)


def _unused(texts: list[str]) -> str:
    for sentinel in SENTINELS:
        if not any(sentinel in text for text in texts):
            return sentinel
    raise ApiError(
        "the messages hold control marks and every letter of Linear A; leave one of them out", param="messages"
    )


def _texts(data: Json) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, list):
        for item in data:
            yield from _texts(item)
    elif isinstance(data, dict):
        if isinstance(data, Arguments):
            yield str(data)
        for key, item in data.items():
            yield key
            yield from _texts(item)
