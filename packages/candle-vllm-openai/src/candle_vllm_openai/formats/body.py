"""The body of an answer, as an expression: calls alone, or text in which a mark leads to an enforced call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .enforced import ANY, Opening, Rules, one_of, text

SPACE = r"/[ \t\r\n]{1,8}/"
SPACE_CLASS = r"[\s\x1c-\x1f]"
"""What the parsers pass over as white space."""


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


def forced(openings: Sequence[Opening], rules: Rules, *, parallel: bool) -> str:
    """The expression for calls and nothing else, written in the first of the ways."""
    opening = openings[0]
    call = rules.add(f"{rules.mark(opening.mark)} {opening.rest}".strip())
    if not parallel or opening.between is None:
        return call
    return f"{call} ({opening.between} {call})*"


def free(openings: Sequence[Opening], rules: Rules, thoughts: Thoughts | None, *, parallel: bool) -> str:
    """The expression for text and calls as the model likes; a call is enforced from the moment one begins."""
    anywhere = [opening for opening in openings if opening.mark and not opening.first]
    first = [opening for opening in openings if opening.mark and opening.first]
    any_text = rules.terminal(ANY)
    calls = (
        rules.add(one_of(f"{_upto(rules, any_text, each.mark)} {each.rest}" for each in anywhere)) if anywhere else ""
    )
    tail = (f"{calls}* {any_text}" if anywhere else any_text) if parallel else ""

    def body(not_first: Iterable[str]) -> str:
        lead = rules.terminal(_not_beginning_with(not_first))
        begun = [f"{rules.terminal(_spaced(each.mark))} {each.rest} {tail}" for each in first]
        later = [f"{_upto(rules, lead, each.mark)} {each.rest} {tail}" for each in anywhere]
        return rules.add(one_of([*begun, *later, lead]))

    marks = [opening.mark for opening in first]
    if thoughts is None:
        return body(marks)
    after = body(marks)
    return thoughts.before(after, otherwise=after if thoughts.started else body([*marks, thoughts.opening]))


def _spaced(mark: str) -> str:
    return f"/{SPACE_CLASS}{{0,8}}{_escaped(mark)}/"


def _not_beginning_with(marks: Iterable[str]) -> str:
    """Any text, but none that begins with one of these, white space before it or not."""
    either = "|".join(map(_escaped, marks))
    return f"{ANY} & ~/{SPACE_CLASS}*({either})(?s:.*)/" if either else ANY


def _escaped(literal: str) -> str:
    """A text as part of a regular expression between slashes."""
    return re.escape(literal).replace("/", r"\/").replace("\n", "n")
