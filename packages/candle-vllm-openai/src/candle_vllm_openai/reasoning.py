"""Reasoning: how models mark what they think before they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .scanner import Grammar, Scanner, Steps


@dataclass(frozen=True, slots=True)
class ReasoningStyle:
    """The marks around reasoning, which is the first part of an answer."""

    name: str
    opening: str
    closing: str

    def opened_by(self, prompt: str) -> bool:
        """Whether a rendered prompt ends with the opening mark, so that the answer begins inside the reasoning."""
        return prompt.rstrip().endswith(self.opening.rstrip())


STYLES: Mapping[str, ReasoningStyle] = {
    style.name: style
    for style in (
        ReasoningStyle("think", "<think>", "</think>"),
        ReasoningStyle("mistral", "[THINK]", "[/THINK]"),
        ReasoningStyle("thought", "<thought>", "</thought>"),
        ReasoningStyle("gemma", "<|channel>thought", "<channel|>"),
        ReasoningStyle("command", "<|START_THINKING|>", "<|END_THINKING|>"),
        ReasoningStyle("harmony", "<|channel|>analysis<|message|>", "<|end|>"),
    )
}


def thinking(inner: Grammar, styles: Sequence[ReasoningStyle], *, started: ReasoningStyle | None = None) -> Grammar:
    """`inner` after reasoning in one of the styles, if the answer begins with it.

    `started`: the style that the prompt has already opened.
    """

    def grammar(scan: Scanner) -> Steps[None]:
        style = started
        if style is not None:
            yield from scan.accept(style.opening)
        else:
            style = yield from _opened(scan, styles)
        if style is not None:
            scan.forget()
            yield from scan.reasoning(style.closing)
        yield from inner(scan)

    return grammar


def _opened(scan: Scanner, styles: Sequence[ReasoningStyle]) -> Steps[ReasoningStyle | None]:
    yield from scan.ahead()
    for style in styles:
        if (yield from scan.starts(style.opening)):
            scan.take(len(style.opening))
            return style
    return None
