"""The body of an answer, as an expression: calls alone, or text in which a mark leads to an enforced call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .enforced import ANY, SPACE_CLASS, Calls, Opening, Rules, escaped, one_of, text

SPACE = r"/[ \t\r\n]{1,8}/"


@dataclass(frozen=True, slots=True)
class Thoughts:
    """Reasoning before the body."""

    rules: Rules
    opening: str
    closing: str
    started: bool
    """Whether the prompt has opened it already."""

    def before(self, body: str, otherwise: str) -> str:
        """The expression for reasoning and `body`, or, where the model may leave the reasoning out, `otherwise`."""
        thought = f"{_upto(self.rules, self.rules.terminal(ANY), self.closing)} {body}"
        return thought if self.started else f"({self.rules.mark(self.opening)} {thought} | {otherwise})"


def _upto(rules: Rules, before: str, mark: str) -> str:
    """Text up to a mark, in whichever way the vocabulary lets a model write that: as tokens of its own, or spelled."""
    spelled = rules.lazy(rules.terminal(f"{before} {text(mark)}"))
    return spelled if rules.spelled(mark) else one_of([rules.upto(before, mark), spelled])


def forced(openings: Sequence[Opening], calls: Calls) -> str:
    """The expression for calls and nothing else, written in the first of the ways."""
    opening = openings[0]
    call = f"{calls.mark(opening.mark)} {opening.rest}"
    return call if opening.between is None else calls.several(call, opening.between)


def free(openings: Sequence[Opening], calls: Calls, thoughts: Thoughts | None) -> str:
    """The expression for text and calls as the model likes; a call is enforced from the moment one begins."""
    text_and_calls = _TextAndCalls([opening for opening in openings if opening.mark], calls)
    after = text_and_calls.answer()
    if thoughts is None:
        return after
    return thoughts.before(after, otherwise=after if thoughts.started else text_and_calls.answer(thoughts.opening))


class _TextAndCalls:
    def __init__(self, openings: Sequence[Opening], calls: Calls) -> None:
        self._rules, self._parallel = calls.rules, calls.parallel
        self._anywhere = [opening for opening in openings if not opening.first]
        self._first = [opening for opening in openings if opening.first]
        self._texts: dict[tuple[str, ...], str] = {}

    def answer(self, *not_first: str) -> str:
        """From the beginning of an answer, which does not begin with some marks."""
        begun = [f"{self._rules.terminal(_spaced(each.mark))} {self._call(each)}" for each in self._first]
        return self._rules.add(one_of([*begun, self._text(*(each.mark for each in self._first), *not_first)]))

    def _call(self, opening: Opening) -> str:
        """What follows the mark of a call, to the end of the answer."""
        return f"{opening.rest} {self._text(*opening.more)}" if self._parallel else opening.rest

    def _text(self, *not_first: str) -> str:
        """Text that does not begin with some marks, and what follows it."""
        if not_first not in self._texts:
            self._texts[not_first] = name = self._rules.reserve()
            text = self._rules.terminal(_not_beginning_with(not_first))
            calls = [f"{_upto(self._rules, text, each.mark)} {self._call(each)}" for each in self._anywhere]
            self._rules.define(name, one_of([text, *calls]))
        return self._texts[not_first]


def _spaced(mark: str) -> str:
    return f"/{SPACE_CLASS}{{0,8}}{escaped(mark)}/"


def _not_beginning_with(marks: Iterable[str]) -> str:
    """Any text, but none that begins with one of these, white space before it or not."""
    either = "|".join(map(escaped, marks))
    return f"{ANY} & ~/{SPACE_CLASS}*({either})(?s:.*)/" if either else ANY
