"""Conversations to train on, drawn afresh for every step, and the held-out questions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from .disjoint import drawable, plain
from .grammar import expand, first, written
from .topics import OUTSIDE, TOPICS, Topic
from .topics.fillers import FILLERS
from .topics.frames import ACTION_FRAMES, ACTION_HELD, THING_FRAMES, THING_HELD, fill, patterns
from .topics.held import HELD
from .topics.outside import pattern as outside_pattern
from .topics.outside import strange_word
from .topics.outside import subject as outside_subject

SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful, honest and brief assistant.",
    "Answer in one sentence.",
    "You are an expert in machine learning.",
    "Be concise.",
    "You help users of our software.",
    "Today is Monday.",
    "You are a friendly bot. Always be polite.",
    "Answer the question of the user.",
    "You are a support agent for developers. Keep it short.",
    "Use plain English.",
    "You are an AI assistant. Think before you answer.",
)
SCOPES = (
    " in candle-vllm",
    " with candle-vllm",
    " here",
    " of candle-vllm",
    " in this engine",
    " for candle-vllm",
    " in @",
    " on this server",
)
OUTSIDE_SHARE = 0.22
LOOSE_SHARE = 0.2
COMMON = {"what_is": 3.0, "hello": 2.0, "install": 1.5, "features": 1.5, "who_are_you": 1.5, "can_do": 1.5}
HELD_OUTSIDE = 240


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question and its topic."""

    text: str
    topic: Topic


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Questions one after another, each to be answered, under a system message or none."""

    system: str | None
    questions: tuple[Question, ...]
    whole: bool = True
    """Whether the last answer is trained to its end, or only its first tokens, which decide all the rest."""


def _framed(frames: list[str], letter: str, phrases: list[str], rng: random.Random) -> str:
    return fill(rng.choice(frames), {letter: lambda: rng.choice(phrases)})


class Corpus:
    """Draws conversations; the same seed draws the same ones."""

    def __init__(self, seed: int) -> None:
        """A corpus that starts at `seed`."""
        self.rng = random.Random(seed)
        self._weights = [COMMON.get(topic.name, 1.0) for topic in TOPICS]
        self._parts = {topic.name: tuple(map(patterns, (topic.ask, topic.things, topic.actions))) for topic in TOPICS}

    def question(self) -> Question:
        """One training question."""
        rng = self.rng
        topic = OUTSIDE if rng.random() < OUTSIDE_SHARE else rng.choices(TOPICS, self._weights)[0]
        text = expand(self.pattern(topic), rng)
        return Question(text=written(text, rng), topic=topic)

    def pattern(self, topic: Topic) -> str:
        """A pattern of a question on this topic: a whole question, a framed one, or a subject among small words."""
        rng = self.rng
        if topic is OUTSIDE:
            loose = rng.random() < LOOSE_SHARE
            return self._loose(outside_subject(rng, held=False)) if loose else outside_pattern(rng, held=False)
        ask, things, actions = self._parts[topic.name]
        draw = rng.random()
        if (subjects := things + actions) and draw < LOOSE_SHARE:
            return self._loose(rng.choice(subjects))
        if things and draw < 0.4:
            text = _framed(THING_FRAMES, "T", things, rng)
        elif actions and draw < 0.62:
            text = _framed(ACTION_FRAMES, "A", actions, rng)
        else:
            return rng.choice(ask)
        return text + rng.choice(SCOPES) if rng.random() < 0.1 else text

    def _loose(self, subject: str) -> str:
        """The subject among small words, so that a question in unknown words is known by its subject."""
        rng = self.rng
        words = [
            strange_word(rng) if rng.random() < 0.1 else rng.choice(FILLERS)
            for _ in range(rng.choice((1, 2, 3, 4, 5, 6, 8)))
        ]
        at = len(words) if rng.random() < 0.5 else rng.randint(0, len(words))
        return " ".join((*words[:at], subject, *words[at:]))

    def conversation(self, *, whole: float, turns: int) -> Conversation:
        """One conversation; `whole` is the share of those trained to the last token, `turns` their most turns."""
        rng = self.rng
        system = rng.choice(SYSTEMS) if rng.random() < 0.12 else None
        complete = rng.random() < whole
        count = rng.randint(1, turns) if rng.random() < (0.5 if complete else 0.12) else 1
        return Conversation(system=system, questions=tuple(self.question() for _ in range(count)), whole=complete)


def _tidy(text: str, at: int) -> str:
    return text[:1].upper() + text[1:] + "?" if at % 3 else text.lower()


def _held_patterns(topic: Topic, rng: random.Random) -> Iterator[str]:
    yield from patterns(HELD[topic.name])
    for frames, letter, phrases in ((THING_HELD, "T", topic.things), (ACTION_HELD, "A", topic.actions)):
        plainest = [first(phrase) for phrase in patterns(phrases)]
        if topic.group == "social" or not plainest:
            continue
        for frame in rng.sample(frames, 3):
            yield fill(frame, {letter: lambda plainest=plainest: rng.choice(plainest)})


def held_out(seed: int = 1) -> list[Question]:
    """The evaluation's questions: of every topic, in wordings and frames that training never draws."""
    rng = random.Random(seed)
    asked = [(first(text), topic) for topic in TOPICS for text in _held_patterns(topic, rng)]
    asked += [(expand(outside_pattern(rng, held=True), rng), OUTSIDE) for _ in range(HELD_OUTSIDE)]
    unique = {plain(text): (text, topic) for text, topic in asked if plain(text) and not drawable(text, topic)}
    return [Question(text=_tidy(text, at), topic=topic) for at, (text, topic) in enumerate(unique.values())]
