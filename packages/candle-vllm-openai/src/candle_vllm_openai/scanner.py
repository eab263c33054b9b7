"""Incremental parsing with generators: a grammar is straight-line code that pauses when the text runs out.

A grammar is a generator function over a `Scanner`. It yields events as soon as they are known, and `None` to wait for
more text; `Parser` drives it. Feeding the whole text at once and feeding it one character at a time give the same
events, because there is only this one path. The work is linear in the text, and what is held back is bounded: the
start of what may be a mark, white space that may stand before a call, a call whose name is not known yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from .cursor import Cursor, Emit, Malformed, Steps, Truncated
from .events import CallArguments, CallEnd, CallStart, Event, Reasoning, Text
from .search import FENCES, marks_of

__all__ = [
    "CallArguments",
    "CallEnd",
    "CallStart",
    "Emit",
    "Event",
    "Grammar",
    "Malformed",
    "Parser",
    "Reasoning",
    "Scanner",
    "Steps",
    "Text",
    "Truncated",
]

Grammar: TypeAlias = Callable[["Scanner"], Steps[None]]
"""How an answer is read."""


class Scanner(Cursor):
    """A cursor that knows what it told of: text between calls, code fences, calls that turn out to be none."""

    def __init__(self) -> None:
        super().__init__()
        self._calling = False
        self._fresh = False  # after a call or reasoning: white space here is no content
        self._blank = True  # only white space on this line so far

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

    def forget(self) -> None:
        """What was taken since the last event is no content, whatever comes."""
        self._unsaid.clear()

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

    def attempt(self, call: Steps[None], closing: str = "") -> Steps[bool]:
        """Read a call; where the text is none, what was not told of yet is given back as text. Whether it was whole.

        `closing`: the mark after a call, which is no content even where the call broke off before it. Of a call that is
        cut short by the end of the text, what came is kept.
        """
        try:
            yield from call
        except Malformed as fault:
            begun, left = self._calling, self._untold()
            if begun:
                yield CallEnd()
                left = "" if isinstance(fault, Truncated) or left.isspace() else left
                if not left and closing:
                    yield from self.closing(closing)
            if left.isspace():
                self._unsaid = [left]
            elif left:
                self._mark_line(left)
                yield Text(left.lstrip() if self._fresh else left)
            return False
        return True

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
        return list(self.read(text))

    def finish(self) -> list[Event]:
        """The events that the end of the text makes known; call it once, last."""
        return list(self.read_end())

    def read(self, text: str) -> Iterator[Event]:
        """As `feed`, one event at a time: when one is given, `position` is where its text ends."""
        self._scan.feed(text)
        return self._events()

    def read_end(self) -> Iterator[Event]:
        """As `finish`, one event at a time."""
        self._scan.close()
        return self._events()

    @property
    def position(self) -> int:
        """How many characters of the text were read."""
        return self._scan.position

    def _events(self) -> Iterator[Event]:
        while not self._done:
            try:
                event = next(self._steps)
            except (StopIteration, Malformed):
                self._done = True
                break
            if event is None:
                return
            self._scan.said(event)
            yield event
        if rest := self._scan.rest():
            yield Text(rest)
