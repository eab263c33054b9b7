"""Incremental parsing with generators: a grammar is straight-line code that pauses when the text runs out.

A grammar is a generator function over a `Scanner`. It yields events as soon as they are known, and `None` to wait for
more text; `Parser` drives it. Feeding the whole text at once and feeding it one character at a time give the same
events, because there is only this one path. The work is linear in the text, and what is held back is bounded: the
start of what may be a mark, white space that may stand before a call, a call whose name is not known yet.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from .search import FENCES, JSON_QUOTED, JSON_SCALAR_END, Marks, json_open, marks_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call of the tool `name` begins."""

    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A piece of the begun call's arguments: the pieces add up to a JSON text."""

    fragment: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The begun call ends: with its arguments whole, or cut short."""


Event: TypeAlias = Text | Reasoning | CallStart | CallArguments | CallEnd
"""What a parser says of the text: the answer's and the reasoning's pieces, and calls from start to end."""
Steps: TypeAlias = Generator[Event | None, None, T]
"""A parser's steps: events, and None to wait for more text. They return what was read."""
Grammar: TypeAlias = Callable[["Scanner"], Steps[None]]
"""How an answer is read."""
Emit: TypeAlias = Callable[[str], Event | None]
"""What becomes of a piece of text: an event, or nothing."""


class Malformed(Exception):
    """The text is not what the grammar promised; what no event told of yet is text."""


class Scanner:
    """A cursor over text that is still arriving."""

    def __init__(self) -> None:
        self._buffer = ""
        self._at = 0
        self._closed = False
        self._unsaid: list[str] = []  # taken since the last event
        self._calling = False
        self._fresh = False  # after a call or reasoning: white space here is no content
        self._blank = True  # only white space on this line so far

    # --- the parser's side

    def feed(self, text: str) -> None:
        """Take in more text."""
        self._buffer = self._buffer[self._at :] + text
        self._at = 0

    def close(self) -> None:
        """There will be no more text."""
        self._closed = True

    def said(self, event: Event) -> None:
        """An event went out: what was taken before it is told of."""
        self._unsaid.clear()
        match event:
            case Text():
                self._fresh = False
            case CallStart():
                self._calling = True
            case CallEnd():
                self._calling, self._fresh, self._blank = False, True, True
            case _:
                pass

    def rest(self) -> str:
        """All that is left and all that no event told of."""
        self._take(len(self._buffer))
        return self._untold()

    # --- the grammars' side

    def more(self) -> Steps[None]:
        """Wait for more text; `Malformed` if there will be none."""
        if self._closed:
            raise Malformed("the text ends too soon")
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
        """The next character after white space, unread; `Malformed` at the end."""
        if not (char := (yield from self.ahead())):
            raise Malformed("the text ends too soon")
        return char

    def take(self, num_chars: int) -> str:
        """The next characters; they must have been looked at."""
        return self._take(self._at + num_chars)

    def forget(self) -> None:
        """What was taken since the last event is no content, whatever comes."""
        self._unsaid.clear()

    def starts(self, literal: str) -> Steps[bool]:
        """Whether the text goes on with `literal`, which stays unread."""
        while True:
            if self._buffer.startswith(literal, self._at):
                return True
            if self._closed or not literal.startswith(self._buffer[self._at :]):
                return False
            yield None

    def accept(self, literal: str) -> Steps[bool]:
        """Take `literal` if it comes next, white space before it or not."""
        yield from self.ahead()
        if found := (yield from self.starts(literal)):
            self.take(len(literal))
        return found

    def expect(self, literal: str) -> Steps[None]:
        """Take `literal`, white space before it or not.

        Raises:
            Malformed: something else comes.
        """
        if not (yield from self.accept(literal)):
            raise Malformed(f"expected {literal!r}")

    def text(self, *marks: str, limit: int | None = None) -> Steps[str]:
        """The text up to the first mark, whole; the mark is taken.

        Raises:
            Malformed: no mark comes, or none within `limit` characters.
        """
        text, mark = yield from self.upto(*marks, limit=limit)
        self.take(len(mark))
        return text

    def upto(self, *marks: str, limit: int | None = None) -> Steps[tuple[str, str]]:
        """The text up to the first mark, whole, and the mark, which stays unread; `Malformed` as `text` is."""
        parts: list[str] = []
        num_chars = 0
        for_marks = marks_of(marks)
        while True:
            end, mark = self._upto(for_marks)
            num_chars += end - self._at
            if limit is not None and num_chars > limit:
                raise Malformed(f"more than {limit} characters before one of {marks}")
            parts.append(self._take(end))
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

    def reasoning(self, *marks: str) -> Steps[str | None]:
        """Say all up to the first mark to be reasoning, without white space around it; the mark, None at the end."""
        for_marks = marks_of(marks)
        self._fresh = True
        while True:
            end, mark = self._upto(for_marks)
            yield from self._pass(end, Reasoning)
            if mark is not None or self._closed:
                self.take(len(mark or ""))
                self.forget()
                self._fresh = True
                return mark
            yield None

    def prose(self, *marks: str) -> Steps[str | None]:
        """Say all up to the first mark outside code fences to be text; the mark, which is taken, None at the end.

        White space before the mark is held: it is content only if what begins there is no call.
        """
        if self._fresh:
            self.forget()
        for_marks = marks_of((*marks, *FENCES))
        while True:
            end, mark = self._upto(for_marks)
            yield from self._pass(end, Text)
            if mark in FENCES and mark not in marks:
                yield from self._fence(mark[0])
            elif mark is not None:
                self.take(len(mark))
                return mark
            elif self._closed:
                if (left := self._untold()) and not self._fresh:
                    yield Text(left)
                return None
            else:
                yield None

    def plain(self) -> Steps[None]:
        """Say all that comes to be text."""
        if self._fresh:
            yield from self.ahead()
            self.forget()
        while True:
            if text := self._take(len(self._buffer)) and self._untold():
                yield Text(text)
            if self._closed:
                return
            yield None

    def attempt(self, call: Steps[None], closing: str = "") -> Steps[bool]:
        """Read a call; where the text is none, what was not told of yet is given back as text. Whether it was one.

        `closing`: the mark after a call, which is no content even where the call broke off before it.
        """
        try:
            yield from call
        except Malformed:
            begun = self._calling
            if self._calling:
                left = self._untold()
                yield CallEnd()
                self._unsaid = [left]
            if closing and begun and (yield from self.starts(closing)):
                self.take(len(closing))
                self._unsaid.pop()
            if (left := self._untold()) and not (begun and left.isspace()):
                self._mark_line(left)
                yield Text(left)
            return begun
        return True

    def string(self) -> Steps[str]:
        """One JSON string, as it is written, quotes and all."""
        if (yield from self.peek()) != '"':
            raise Malformed("expected a string")
        parts: list[str] = []
        yield from self.value(lambda part: parts.append(part))
        return "".join(parts)

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
            end, depth, quoted = self._step(depth, quoted, stop)
            yield from _event(emit, self._take(end))
            if not depth and not quoted:
                return
            if stop and not quoted and self._buffer.startswith(stop, self._at):
                raise Malformed(f"the value ends too soon, at {stop!r}")
            yield from self.more()

    # --- helpers

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

    def _step(self, depth: int, quoted: bool, stop: str) -> tuple[int, int, bool]:
        """How far a value goes in the text at hand, and how many brackets and whether a string are open there."""
        text, at, outside = self._buffer, self._at, json_open(stop[:1])
        while hit := (JSON_QUOTED if quoted else outside).search(text, at):
            at, char = hit.end(), hit[0]
            if char == "\\":
                if at == len(text):
                    return at - 1, depth, quoted
                at += 1
            elif char == '"':
                quoted = not quoted
            elif char in "{[":
                depth += 1
            elif char in "}]":
                depth -= 1
            elif text.startswith(stop, at - 1) or (stop.startswith(text[at - 1 :]) and not self._closed):
                return at - 1, depth, quoted
            if not depth and not quoted:
                return at, depth, quoted
        return len(text), depth, quoted

    def _mark_line(self, text: str) -> None:
        head, newline, line = text.rpartition("\n")
        self._blank = (bool(newline) or self._blank) and (not line or line.isspace())

    def _pass(self, end: int, say: Callable[[str], Event]) -> Steps[None]:
        """Say what comes before `end`, but for white space there, which waits for what follows it."""
        text = self._buffer[self._at : end]
        kept = len(text.rstrip())
        if kept:
            self._take(self._at + kept)
            said = self._untold()
            self._mark_line(said)
            yield say(said.lstrip() if self._fresh else said)
            self._fresh = False
        self._mark_line(self._take(end))

    def _fence(self, char: str) -> Steps[None]:
        """From the start of what may be a code fence to its end; it is told as text."""
        opens = self._blank
        run = yield from self._run(char)
        if not opens or not (yield from self._info(char)):
            return
        fence = marks_of((char * 3,))
        while True:
            end, mark = self._upto(fence)
            yield from self._pass(end, Text)
            if mark is not None:
                blank = self._blank
                closing = yield from self._run(char)
                if blank and closing >= run and (yield from self._line_ends()):
                    return
            elif self._closed:
                return
            else:
                yield None

    def _run(self, char: str) -> Steps[int]:
        """Say a run of the character; its length."""
        num_chars = 0
        while True:
            end = self._at
            while end < len(self._buffer) and self._buffer[end] == char:
                end += 1
            num_chars += end - self._at
            yield from self._pass(end, Text)
            if self._closed or end < len(self._buffer):
                return num_chars
            yield None

    def _info(self, char: str) -> Steps[bool]:
        """Say the rest of a fence's first line; whether it is one, with no backtick in it."""
        ends = marks_of(("\n", "`") if char == "`" else ("\n",))
        while True:
            end, mark = self._upto(ends)
            yield from self._pass(end, Text)
            if mark is not None or self._closed:
                return mark == "\n"
            yield None

    def _line_ends(self) -> Steps[bool]:
        """Pass spaces; whether the line ends there."""
        while True:
            end = self._at
            while end < len(self._buffer) and self._buffer[end] in " \t\r":
                end += 1
            self._take(end)
            if self._closed or end < len(self._buffer):
                return end == len(self._buffer) or self._buffer[end] == "\n"
            yield None


def _event(emit: Emit, piece: str) -> Steps[None]:
    if piece and (event := emit(piece)) is not None:
        yield event


class Parser:
    """Reads one answer as a grammar says: `feed` and `finish` give the same events however the text is cut.

    The same but for how adjacent pieces of text, reasoning or arguments are cut.
    """

    def __init__(self, grammar: Grammar) -> None:
        self._scan = Scanner()
        self._steps = grammar(self._scan)
        self._done = False

    def feed(self, text: str) -> list[Event]:
        """The events that more text makes known."""
        self._scan.feed(text)
        return list(self._events())

    def finish(self) -> list[Event]:
        """The events that the end of the text makes known; call it once, last."""
        self._scan.close()
        return list(self._events())

    def _events(self) -> Iterator[Event]:
        while not self._done:
            try:
                event = next(self._steps)
            except StopIteration:
                self._done = True
                break
            if event is None:
                return
            self._scan.said(event)
            yield event
        if rest := self._scan.rest():
            yield Text(rest)
