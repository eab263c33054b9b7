"""`Cursor`: a place in text that is still arriving, and what can be read from there on."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

from .events import Event
from .search import JSON_SCALAR_END, NAME_END, WORD_END, Marks, marks_of, value_end

MAX_WORD_CHARS = 256
MAX_HELD_CHARS = 4096
MAX_STRING_CHARS = 4096

T = TypeVar("T")
Steps: TypeAlias = Generator[Event | None, None, T]
"""A parser's steps: events, and None to wait for more text. They return what was read."""
Emit: TypeAlias = Callable[[str], Event | None]
"""What becomes of a piece of text: an event, or nothing."""


class Malformed(Exception):
    """The text is not what the grammar promised; what no event told of yet is text."""


class Truncated(Malformed):
    """The text ends too soon."""


class Cursor:
    """A place in text that is still arriving; what is read waits for more text where it must."""

    def __init__(self) -> None:
        self._buffer = ""
        self._at = 0
        self._num_dropped = 0
        self._closed = False
        self._unsaid: list[str] = []  # taken since the last event

    def feed(self, text: str) -> None:
        """Take in more text."""
        self._num_dropped += self._at
        self._buffer = self._buffer[self._at :] + text
        self._at = 0

    @property
    def position(self) -> int:
        """How many characters of the whole text were taken."""
        return self._num_dropped + self._at

    def close(self) -> None:
        """There will be no more text."""
        self._closed = True

    def more(self) -> Steps[None]:
        """Wait for more text; `Truncated` if there will be none."""
        if self._closed:
            raise Truncated("the text ends too soon")
        yield None

    def space(self) -> Steps[str]:
        """White space, taken."""
        parts: list[str] = []
        while True:
            end = self._at
            while end < len(self._buffer) and self._buffer[end].isspace():
                end += 1
            parts.append(self._take(end))
            if self._closed or end < len(self._buffer):
                return "".join(parts)
            yield None

    def ahead(self) -> Steps[str]:
        """The next character after white space, unread; nothing at the end."""
        yield from self.space()
        return self._buffer[self._at : self._at + 1]

    def peek(self) -> Steps[str]:
        """The next character after white space, unread; `Truncated` at the end."""
        if not (char := (yield from self.ahead())):
            raise Truncated("the text ends too soon")
        return char

    def take(self, num_chars: int) -> str:
        """The next characters; they must have been looked at."""
        return self._take(self._at + num_chars)

    def one(self) -> Steps[str]:
        """The next character; `Truncated` at the end."""
        while self._at == len(self._buffer):
            yield from self.more()
        return self.take(1)

    def word(self) -> Steps[str]:
        """Letters, digits, `_`, `.` and `-`, taken: as many as a name may have, or none."""
        return (yield from self._up_to_end(WORD_END))

    def name(self) -> Steps[str]:
        """What a tool may be called, taken: a word, and `:` and `/` in it."""
        return (yield from self._up_to_end(NAME_END))

    def _up_to_end(self, end: re.Pattern[str]) -> Steps[str]:
        parts: list[str] = []
        room = MAX_WORD_CHARS
        while True:
            hit = end.search(self._buffer, self._at, self._at + room)
            parts.append(self._take(min(len(self._buffer), self._at + room) if hit is None else hit.start()))
            room -= len(parts[-1])
            if hit is not None or self._closed or not room:
                return "".join(parts)
            yield None

    def starts(self, literal: str) -> Steps[bool]:
        """Whether the text goes on with `literal`, which stays unread."""
        while True:
            if self._buffer.startswith(literal, self._at):
                return True
            if self._closed or not literal.startswith(self._buffer[self._at : self._at + len(literal)]):
                return False
            yield None

    def at(self, *literals: str) -> Steps[bool]:
        """Whether the text goes on with one of `literals`, which stays unread."""
        for literal in literals:
            if (yield from self.starts(literal)):
                return True
        return False

    def accept(self, literal: str) -> Steps[bool]:
        """Take `literal` if it comes next, white space before it or not."""
        yield from self.ahead()
        if found := (yield from self.starts(literal)):
            self.take(len(literal))
        return found

    def expect(self, *literals: str) -> Steps[str]:
        """Take the one of `literals` that comes next, white space before it or not.

        Raises:
            Malformed: something else comes, or nothing.
        """
        for literal in literals:
            if (yield from self.accept(literal)):
                return literal
        if self._closed and any(literal.startswith(self._buffer[self._at :]) for literal in literals):
            self._take(len(self._buffer))
            raise Truncated(f"expected {' or '.join(literals)}")
        raise Malformed(f"expected {' or '.join(literals)}")

    def closing(self, *marks: str) -> Steps[None]:
        """Take one of `marks` if it comes next, after white space or not; where the text ends, what there is of it."""
        for mark in marks:
            if (yield from self.accept(mark)):
                return
        if self._closed and any(mark.startswith(self._buffer[self._at :]) for mark in marks):
            self._take(len(self._buffer))

    def text(self, mark: str, *, limit: int | None = None, but: tuple[str, ...] = ()) -> Steps[str]:
        """The text up to a mark, whole; the mark is taken.

        Raises:
            Malformed: it does not come, or not within `limit` characters, or one of `but` comes before it.
        """
        text, found = yield from self.upto(mark, *but, limit=limit)
        if found != mark:
            raise Malformed(f"expected {mark!r}, found {found!r}")
        self.take(len(mark))
        return text

    def upto(self, *marks: str, limit: int | None = None) -> Steps[tuple[str, str]]:
        """The text up to the first mark, whole, and the mark, which stays unread; `Malformed` as `text` is."""
        parts: list[str] = []
        room = MAX_HELD_CHARS if limit is None else limit
        for_marks = marks_of(marks)
        while True:
            end, mark = for_marks.find(self._buffer, self._at, self._closed, room)
            parts.append(self._take(min(end, self._at + room)))
            room -= len(parts[-1])
            if self._at < end:
                raise Malformed(f"too long a text before one of {marks}")
            if mark is not None:
                return "".join(parts), mark
            yield from self.more()

    def until(self, *marks: str, emit: Emit) -> Steps[str | None]:
        """Pass text through `emit`, verbatim, up to the first mark; it is taken and returned, None at the end."""
        for_marks = marks_of(marks)
        while True:
            end, mark = self._upto(for_marks)
            yield from _event(emit, self._take(end))
            if mark is not None:
                self.take(len(mark))
                return mark
            if self._closed:
                return None
            yield None

    def string(self, limit: int = MAX_STRING_CHARS) -> Steps[str]:
        """One JSON string, as it is written, quotes and all.

        Raises:
            Malformed: there is none, or it is longer than `limit` characters.
        """
        yield from self.expect('"')
        parts = ['"']
        while True:
            text, mark = yield from self.upto('"', "\\", limit=limit)
            limit -= len(text) + 2
            parts += (text, self.take(1))
            if mark == '"':
                return "".join(parts)
            if limit < 0:
                raise Malformed("too long a string")
            parts.append((yield from self.one()))

    def value(self, emit: Emit, *, depth: int = 0, stop: str = "") -> Steps[None]:
        """Pass one JSON value through `emit`, verbatim, piece by piece; brackets and quotes tell where it ends.

        `depth`: how many brackets of it were taken before. `stop`: a mark that ends it wherever it stands outside
        strings.

        Raises:
            Malformed: the text or, at the stop mark, the value ends too soon.
        """
        first = "" if depth else (yield from self.peek())
        if not depth and first not in '{["':
            yield from self._scalar(emit)
            return
        quoted = False
        while True:
            end, depth, quoted = value_end(self._buffer, self._at, self._closed, depth, quoted, stop)
            yield from _event(emit, self._take(end))
            if not depth and not quoted:
                return
            if stop and not quoted and self._buffer.startswith(stop, self._at):
                raise Malformed(f"the value ends too soon, at {stop!r}")
            yield from self.more()

    def _take(self, end: int) -> str:
        taken = self._buffer[self._at : end]
        if taken:
            self._unsaid.append(taken)
            self._at = end
        return taken

    def _untold(self) -> str:
        text = "".join(self._unsaid)
        self._unsaid.clear()
        return text

    def _upto(self, marks: Marks) -> tuple[int, str | None]:
        """How far the text goes before the first mark, or before what may become one."""
        return marks.find(self._buffer, self._at, self._closed)

    def _scalar(self, emit: Emit) -> Steps[None]:
        """Pass a number or a word."""
        while True:
            hit = JSON_SCALAR_END.search(self._buffer, self._at)
            yield from _event(emit, self._take(len(self._buffer) if hit is None else hit.start()))
            if hit is not None:
                return
            yield from self.more()


def _event(emit: Emit, piece: str) -> Steps[None]:
    if piece and (event := emit(piece)) is not None:
        yield event
