"""Whether training could draw a question: keeps the evaluation apart from it."""

from __future__ import annotations

import re
from functools import cache

from .grammar import CLOSERS, NAMES, OPENERS
from .topics import Topic
from .topics.fillers import FILLERS
from .topics.frames import ACTION_FRAMES, THING_FRAMES, fill, patterns
from .topics.outside import SYLLABLES

SCOPE = "(?: (?:in|with|here|of|for|on) ?[a-z -]*)?"


def plain(text: str) -> str:
    """The question in lower case, without marks: what makes two questions one."""
    return " ".join(re.sub(r"[?!.,:;]+", " ", text.lower()).split())


def _expression(pattern: str) -> str:
    """A regular expression for the plain form of everything that the pattern can become."""
    names = "(?:" + "|".join(sorted({re.escape(plain(name)) for name in NAMES})) + ")"
    marked = re.sub(r"[?!.,:;]+", " ", pattern.lower())
    out = "".join({"(": "(?:", ")": ")", "|": "|", "@": names, " ": " *"}.get(part, re.escape(part)) for part in marked)
    # A pair of brackets with nothing in it is text, as in step().
    return out.replace("(?:)", r"(?:\(\))?")


@cache
def _small_word() -> str:
    syllables, words = "|".join(sorted(set(SYLLABLES))), "|".join(sorted({re.escape(plain(word)) for word in FILLERS}))
    return f"(?:{words}|(?:{syllables}){{1,3}})"


@cache
def _drawn(topic: Topic) -> re.Pattern[str]:
    any_of = [_expression(pattern) for pattern in patterns(topic.ask)]
    for frames, letter, text in ((THING_FRAMES, "T", topic.things), (ACTION_FRAMES, "A", topic.actions)):
        if phrases := "|".join(patterns(text)):
            any_of += [
                _expression(fill(frame, {letter: lambda phrases=phrases: f"({phrases})"})) + SCOPE for frame in frames
            ]
    if subjects := patterns(topic.things) + patterns(topic.actions):
        any_of.append(f"(?:{_small_word()} )*(?:{'|'.join(map(_expression, subjects))})(?: {_small_word()})*")
    openers, closers = ("|".join(map(re.escape, map(plain, words))) for words in (OPENERS, CLOSERS))
    return re.compile(f"(?:(?:{openers}) *)?(?:{'|'.join(any_of)})(?: *(?:{closers}))?")


def drawable(text: str, topic: Topic) -> bool:
    """Whether training can draw this question of this topic, in whatever case and punctuation."""
    return _drawn(topic).fullmatch(plain(text)) is not None
