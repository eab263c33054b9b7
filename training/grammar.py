"""Sentences from patterns, and the ways in which people write them down."""

from __future__ import annotations

import random
import re

GROUP = re.compile(r"\(([^()]*\|[^()]*)\)")
NAMES = ("candle-vllm",) * 12 + (
    "candle vllm",
    "candle-vLLM",
    "Candle-vLLM",
    "candlevllm",
    "candle",
    "this",
    "the engine",
)
OPENERS = (
    *(
        "hi",
        "hello",
        "hey",
        "please",
        "ok",
        "so",
        "and",
        "um",
        "well",
        "sorry",
        "excuse me",
        "quick question",
        "question",
    ),
    *("one more thing", "I wonder", "tell me", "good morning", "hi there", "another question", "just curious", "help"),
)
CLOSERS = (
    "please",
    "thanks",
    "thank you",
    "pls",
    "now",
    "exactly",
    "again",
    "then",
    "by the way",
    "for a beginner",
    "in short",
)
DROPPED = frozenset("a an the do does i is are it my of to in for me can".split())
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def expand(pattern: str, rng: random.Random) -> str:
    """One sentence of a pattern: `(a|b)` is one of its parts, `@` a name people use for candle-vllm."""
    while match := GROUP.search(pattern):
        pattern = pattern[: match.start()] + rng.choice(match[1].split("|")) + pattern[match.end() :]
    return " ".join(pattern.replace("@", rng.choice(NAMES)).split())


def first(pattern: str) -> str:
    """The plainest sentence of a pattern: the first of all choices."""
    while match := GROUP.search(pattern):
        pattern = pattern[: match.start()] + match[1].split("|")[0] + pattern[match.end() :]
    return " ".join(pattern.replace("@", "candle-vllm").split())


def _typo(word: str, rng: random.Random) -> str:
    at = rng.randrange(len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at] + word[at:]
    row = next((row for row in ROWS if word[at].lower() in row), "e")
    return word[:at] + rng.choice(row) + word[at + 1 :]


def _with_typos(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    long = [at for at, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    for at in rng.sample(long, min(len(long), rng.choice((1, 1, 2)))):
        words[at] = _typo(words[at], rng)
    return " ".join(words)


def _cased(text: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.52:
        return text[:1].upper() + text[1:]
    if draw < 0.545:
        return text.upper()
    if draw < 0.56:
        return text.title()
    return text.lower() if draw < 0.8 else text


def written(text: str, rng: random.Random) -> str:
    """The sentence as somebody types it: openers, lost words, typing errors, cases and marks."""
    if rng.random() < 0.15:
        text = rng.choice(OPENERS) + rng.choice((", ", " ", ": ", "! ")) + text
    if rng.random() < 0.08:
        text += rng.choice((", ", " ")) + rng.choice(CLOSERS)
    if rng.random() < 0.06 and len(words := text.split()) > 3:
        text = " ".join(word for word in words if word.lower() not in DROPPED or rng.random() < 0.4) or text
    if rng.random() < 0.08:
        text = _with_typos(text, rng)
    return _cased(text, rng) + rng.choice(("?",) * 9 + ("",) * 6 + (".", "??", " ?", "!", "?!"))
